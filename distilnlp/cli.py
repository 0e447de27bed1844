"""The `distilnlp` command. `distill` runs a recipe, `cache` asks its teacher once, `evaluate` measures a student."""

import argparse
import json
import logging
import sys
import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import transformers
import yaml
from accelerate import PartialState

from distilnlp.errors import DistillationError, NonFiniteLossError

# Flags that stand for keys of a recipe.
SHORTCUTS = {
    "teacher": ("teacher.model", "local folder or Hub id of the teacher, or a list of them"),
    "data": ("data.source", "Hub id, folder, file (CSV, JSON lines, Parquet, text) or module:function"),
    "output": ("output", "folder of the run"),
    "task": ("task", "what is distilled; default: what a finished teacher is for"),
    "num-layers": ("student.num_layers", "depth of the student; default: half of the teacher's"),
}
RECIPE_HELP = """\
Any other key of the recipe is a flag too: --training.learning_rate 3e-5 --data.text_columns '[premise, hypothesis]'.
Values are read as YAML. All keys: see docs/recipes.md.

examples:
  distilnlp {name} recipes/sst2.yaml
  distilnlp {name} --teacher my-classifier --data train.csv --output out
  distilnlp {name} recipes/sst2.yaml --student.num_layers 2 --output out/two-layers
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 after a failed training, 2 for wrong input."""
    parser, flags = _build_parser()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("distilnlp").setLevel(logging.INFO)
    for noisy in ("httpx", "httpx2", "absl", "datasets"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    # transformers announces a new head as a fault, and has a bar for each small file; the plan says what matters.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        words, overrides = split_overrides(sys.argv[1:] if argv is None else argv, flags)
        args = parser.parse_args(words)
        args.command(args, overrides)
    except NonFiniteLossError as error:
        print(f"distilnlp: training stopped: {error}", file=sys.stderr)
        return 1
    except DistillationError as error:
        print(f"distilnlp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("distilnlp: interrupted. Give the same command again to go on from the last checkpoint.", file=sys.stderr)
        return 130
    except OSError as error:  # a full disk, a file that cannot be written
        print(f"distilnlp: {error}. What was finished is kept: run the same command again.", file=sys.stderr)
        return 1
    return 0


def _build_parser() -> tuple[argparse.ArgumentParser, set[str]]:
    """Return the parser, and the flags that it knows; all others are keys of a recipe."""
    parser = argparse.ArgumentParser(prog="distilnlp", description="Distil an encoder into a small student.")
    parser.add_argument("--version", action="version", version=f"distilnlp {version('distilnlp')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    distill = _add_recipe_command(commands, "distill", "run a recipe, or distil a teacher on your data")
    distill.add_argument("--dry-run", action="store_true", help="check everything, print the plan, train nothing")
    distill.set_defaults(command=_distill)

    cache = _add_recipe_command(commands, "cache", "ask the teacher of a recipe once, and keep its answers on disk")
    cache.set_defaults(command=_cache)

    evaluate = commands.add_parser(
        "evaluate",
        help="measure a student, and its teacher beside it",
        epilog="Other keys of data are flags too: --data.text_columns '[a, b]'. See docs/recipes.md.",
        allow_abbrev=False,
    )
    evaluate.add_argument("student", help="local folder or Hub id of the student")
    evaluate.add_argument("--data", required=True, dest="data.source", help=SHORTCUTS["data"][1])
    evaluate.add_argument("--task", help="default: what the student's head is for; masked_lm must be named")
    evaluate.add_argument("--teacher", help="local folder or Hub id of its teacher")
    evaluate.add_argument("--split", dest="data.test_split", help="default: test, else validation, else train")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    evaluate.set_defaults(command=_evaluate)
    flags = {flag for command in (parser, distill, cache, evaluate) for flag in command._option_string_actions}
    return parser, flags


def _add_recipe_command(commands: Any, name: str, purpose: str) -> argparse.ArgumentParser:
    """Add a command that takes a recipe, or flags for its keys."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=purpose,
        epilog=RECIPE_HELP.format(name=name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("recipe", nargs="?", help="a YAML file; without it --teacher, --data and --output are needed")
    for flag, (key, text) in SHORTCUTS.items():
        command.add_argument(f"--{flag}", dest=key, metavar="VALUE", help=f"{text} ({key})")
    command.add_argument("--overwrite", action="store_true", help="delete another run in the output folder")
    return command


def _recipe(args: argparse.Namespace, overrides: Mapping[str, Any]) -> Any:
    from distilnlp.recipe import load_recipe

    shortcuts = {key: getattr(args, key) for key, _ in SHORTCUTS.values() if getattr(args, key) is not None}
    shortcuts.update(_splits_of(shortcuts.get("data.source")))
    if str(shortcuts.get("teacher.model")).startswith("["):  # several
        shortcuts["teacher.model"] = _read_yaml("--teacher", shortcuts["teacher.model"])
    return load_recipe(args.recipe, {**shortcuts, **overrides})


def _cache(args: argparse.Namespace, overrides: Mapping[str, Any]) -> None:
    from distilnlp.runs import cache

    folder = cache(_recipe(args, overrides), overwrite=args.overwrite)
    if PartialState().is_main_process:
        print(f"answers   {folder}")


def _distill(args: argparse.Namespace, overrides: Mapping[str, Any]) -> None:
    from distilnlp.evaluation import summary_table
    from distilnlp.runs import dry_run, run

    recipe = _recipe(args, overrides)
    if args.dry_run:
        print(dry_run(recipe, args.overwrite))
        return
    results = run(recipe, overwrite=args.overwrite)
    if not PartialState().is_main_process:
        return
    print(f"\n{_as_list(results['verdict'])}\n\n{summary_table(results['models'])}\n")
    print(f"student   {recipe.output}/student\nfigures   {recipe.output}/results.json")


def _evaluate(args: argparse.Namespace, overrides: Mapping[str, Any]) -> None:
    from distilnlp.data import DataConfig
    from distilnlp.evaluation import summary_table, verdict
    from distilnlp.runs import evaluate_saved
    from distilnlp.validation import parse_section

    unknown = [key for key in overrides if not key.startswith("data.")]
    if unknown:
        raise DistillationError(
            f"unknown flag --{unknown[0]}: evaluate takes keys of data, such as --data.text_columns."
        )
    _check_writable(args.json)
    source = _splits_of(getattr(args, "data.source")).get("data.source", getattr(args, "data.source"))
    own = {"source": source, "test_split": getattr(args, "data.test_split")}
    data = parse_section(DataConfig, {**own, **{key[5:]: value for key, value in overrides.items()}}, "data")
    reports = evaluate_saved(args.student, data, args.teacher, args.task)
    print(f"{_as_list(verdict(reports))}\n\n{summary_table(reports)}".lstrip())
    if args.json:
        args.json.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")


def _as_list(sentences: Sequence[str]) -> str:
    """Return sentences as a list that is read in a terminal of 80 columns."""
    return "\n".join(textwrap.fill(said, 80, initial_indent="- ", subsequent_indent="  ") for said in sentences)


def _splits_of(source: str | None) -> dict[str, Any]:
    """Read `--data '{train: train.csv, test: test.csv}'`, which is YAML."""
    return {"data.source": _read_yaml("--data", source)} if source and source.startswith("{") else {}


def _check_writable(file: Path | None) -> None:
    """Raise a `DistillationError` before anything is measured if the figures could not be written."""
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise DistillationError(
            f"--json must name a file in a folder that is there, but got {file}. Make the folder, or name another file."
        )


def _read_yaml(flag: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DistillationError(f"the value of {flag}, {value!r}, is no valid YAML. Quote it: {reason}") from error


def split_overrides(words: Sequence[str], flags: set[str]) -> tuple[list[str], dict[str, Any]]:
    """Take the flags that are keys of a recipe, `--section.key value` or `--section.key=value`, out of a command line.

    Args:
        words: the command line.
        flags: the command's own flags, which stay.

    Returns:
        The words that stay, and the values by dotted key, read as YAML.

    Raises:
        DistillationError: a key without a value.
    """
    own: list[str] = []
    overrides: dict[str, Any] = {}
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        flag, has_value, value = word.partition("=")
        if not flag.startswith("--") or flag in flags:
            own.append(word)
            continue
        if flag[2:] in overrides:
            raise DistillationError(f"the flag {flag} is given twice. Several values are one list: {flag} '[a, b]'.")
        if not has_value:
            if not remaining or remaining[0].startswith("--"):
                raise DistillationError(f"the flag {flag} has no value. Write {flag} VALUE.")
            value = remaining.pop(0)
        overrides[flag[2:]] = _read_yaml(flag, value)
    return own, overrides


if __name__ == "__main__":
    sys.exit(main())
