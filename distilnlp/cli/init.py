"""`distilnlp init`: look at a teacher and its data, and write a commented recipe."""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from distilnlp.cli.begin import begin
from distilnlp.errors import DistillationError, shown
from distilnlp.files import check_can_be_written, expanded, write_text
from distilnlp.screen import current

if TYPE_CHECKING:
    from distilnlp.runs.proposal import Proposal, Wishes

HELP = "look at your data and write a commented recipe for it"
QUESTIONS = {
    "teacher": "Teacher, a local folder or a Hub id",
    "data": "Data, a file, a folder or a Hub id",
    "output": "Folder for the results",
}
Ask = Callable[[str, str], str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags: each answers one of the questions."""
    parser.add_argument("--teacher", metavar="MODEL", help="local folder or Hub id of the teacher")
    parser.add_argument("--data", metavar="SOURCE", help="file, folder or Hub id with the rows")
    parser.add_argument("--output", metavar="FOLDER", help="folder of the run that the recipe describes")
    parser.add_argument("--config", metavar="NAME", help="configuration of a Hub data set")
    parser.add_argument("--task", help="default: what the teacher's head is for, else what the columns look like")
    parser.add_argument("--text-column", metavar="A,B", help="default: the columns that look like text")
    parser.add_argument("--label-column", metavar="NAME", help="default: the column that looks like labels")
    parser.add_argument("--recipe", default="recipe.yaml", metavar="FILE", help="file to write; default: recipe.yaml")
    parser.add_argument("--overwrite", action="store_true", help="replace a recipe that is there")


def run(args: argparse.Namespace) -> None:
    """Write the recipe, and say which command comes next.

    Raises:
        DistillationError: a flag is missing and there is no terminal to ask on, the file is there already, or teacher
            and data do not fit together.
    """
    file = _file_to_write(args.recipe, args.overwrite)
    is_asked = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    ask = _ask if is_asked else None
    answers = _answers(args, ask)
    begin(f"look at {shown(answers['data'])}", args.mode)
    from distilnlp.runs.proposal import Wishes

    texts = tuple(name.strip() for name in (args.text_column or "").split(",") if name.strip())
    given = (expanded(answers["teacher"]), expanded(answers["data"]), answers["output"])
    proposal = _agreed(Wishes(*given, args.config, args.task, texts, args.label_column), ask)
    proposal.check()
    write_text(file, proposal.recipe_text())
    name = shlex.quote(str(file))
    current().event("results", recipe=str(file))
    if args.mode == "json":
        return
    print(f"{_summary(proposal)}\nrecipe    {file}\n")
    print(f"Read it, then check it and run it:\n  distilnlp distill {name} --dry-run\n  distilnlp distill {name}")


def _file_to_write(name: str, overwrite: bool) -> Path:
    """Return the file to write; a `DistillationError` if it cannot be one, or is there and may not be replaced."""
    file = Path(expanded(name))
    check_can_be_written("--recipe", file)
    if file.exists() and not overwrite:
        raise DistillationError(f"{file} is there already. Name another with --recipe, or add --overwrite.")
    return file


def _answers(args: argparse.Namespace, ask: Ask | None) -> dict[str, str]:
    """Return teacher, data and output: of the flags, or asked for."""
    answers = {name: (getattr(args, name) or "").strip() for name in QUESTIONS}
    missing = [name for name, value in answers.items() if not value]
    if missing and ask is None:
        flags = ", ".join(f"--{name}" for name in missing)
        raise DistillationError(f"there is no terminal to ask on, so give these flags too: {flags}.")
    for name in missing:
        assert ask is not None
        stem = Path(answers["data"]).name.split(".")[0] or "run"
        while not answers[name]:
            answers[name] = ask(QUESTIONS[name], f"out/{stem}" if name == "output" else "").strip()
    return answers


def _agreed(wishes: "Wishes", ask: Ask | None) -> "Proposal":
    """Propose, and on a terminal let the user change task and columns where no flag gave them."""
    from dataclasses import replace

    from distilnlp.runs.proposal import propose

    proposal = propose(wishes)
    if ask is None:
        return proposal
    if not wishes.task:
        task = ask("Task", proposal.task.name)
        if task != proposal.task.name:
            wishes = replace(wishes, task=task)
            proposal = propose(wishes, proposal)
    if not wishes.texts:
        names = ask("Text columns", ",".join(proposal.roles.texts)).split(",")
        wishes = replace(wishes, texts=tuple(name.strip() for name in names))
    if not wishes.label and proposal.task.rows.needs_labels:
        wishes = replace(wishes, label=ask("Label column", proposal.roles.label or "") or None)
    return propose(wishes, proposal)


def _ask(question: str, default: str) -> str:
    try:
        return input(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
    except EOFError:
        raise DistillationError("the input ended before all questions were answered. Give the flags instead.") from None


def _summary(proposal: "Proposal") -> str:
    roles = proposal.roles
    lines = {
        "task": proposal.task.name,
        "texts": ", ".join(roles.texts),
        "choices": ", ".join(roles.choices),
        "labels": f"{roles.label} ({proposal.labelled:,} of {len(proposal.rows):,} rows)" if roles.label else "",
        "length": f"{proposal.max_length[0]} tokens",
        "teacher": "is fine-tuned first" if proposal.is_finetuned else "",
    }
    return "\n".join(f"{name:<9} {value}" for name, value in lines.items() if value)
