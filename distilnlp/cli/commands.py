"""The `distilnlp` command. `distill` runs a recipe, `cache` asks its teacher once, `evaluate` measures a student.

What takes time to import, torch and transformers above all, is imported where a command needs it: help and most errors
come at once, and the others after a first line that says what is being done.
"""

import argparse
import gc
import logging
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilnlp.cli.recipe_keys import check_flags
from distilnlp.errors import DistillationError, NonFiniteLossError, redacted, shortened, shown
from distilnlp.files import expanded, write_json
from distilnlp.recipe.text import read_yaml, recipe_values, refuse_secrets

if TYPE_CHECKING:
    from distilnlp.recipe.sections import Recipe

logger = logging.getLogger("distilnlp")

INTERRUPTED = "distilnlp: interrupted. Give the same command again to go on from the last checkpoint."

# Flags that stand for keys of a recipe.
SHORTCUTS = {
    "teacher": ("teacher.model", "local folder or Hub id of the teacher, or a list of them"),
    "data": ("data.source", "Hub id, folder, file (CSV, JSON lines, Parquet, text) or module:function"),
    "output": ("output", "folder of the run"),
    "task": ("task", "what is distilled; default: what a finished teacher is for"),
    "num-layers": ("student.num_layers", "depth of the student; default: half of the teacher's"),
    "trust-remote-code": ("trust_remote_code", "a model or metric, or a list of them, whose own Python code may run"),
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
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    for noisy in ("httpx", "httpx2", "absl", "datasets"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        parser, flags = _build_parser()
        given = sys.argv[1:] if argv is None else argv
        refuse_secrets({"the command line": given})
        words, overrides = split_overrides(given, flags)
        check_flags(overrides, flags)
        args = parser.parse_args(words)
        args.command(args, overrides)
    except NonFiniteLossError as error:
        print(f"distilnlp: training stopped: {error}", file=sys.stderr)
        return 1
    except DistillationError as error:
        print(f"distilnlp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    except OSError as error:  # a full disk, a file that cannot be written
        print(f"distilnlp: {error}. What was finished is kept: run the same command again.", file=sys.stderr)
        return 1
    return 0


def _build_parser() -> tuple[argparse.ArgumentParser, set[str]]:
    """Return the parser, and the flags that it knows; all others are keys of a recipe."""
    parser = argparse.ArgumentParser(prog="distilnlp", description="Distil an encoder into a small student.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    distill = _add_recipe_command(commands, "distill", "run a recipe, or distil a teacher on your data")
    distill.add_argument("--dry-run", action="store_true", help="check everything, print the plan, train nothing")
    distill.set_defaults(command=_distill)

    cache = _add_recipe_command(commands, "cache", "ask the teacher of a recipe once, and keep its answers on disk")
    cache.set_defaults(command=_cache)

    evaluate = commands.add_parser(
        "evaluate",
        help="measure a student, and its teacher beside it",
        epilog="Other keys of data are flags too: --data.text_columns '[a, b]', and so is --evaluation.metrics. "
        "See docs/recipes.md.",
        allow_abbrev=False,
    )
    evaluate.add_argument("student", help="local folder or Hub id of the student")
    evaluate.add_argument("--data", required=True, dest="data.source", help=SHORTCUTS["data"][1])
    evaluate.add_argument("--task", help="default: what the student's head is for; masked_lm must be named")
    evaluate.add_argument("--teacher", help="local folder or Hub id of its teacher")
    evaluate.add_argument("--split", dest="data.test_split", help="default: test, else validation, else train")
    evaluate.add_argument("--trust-remote-code", metavar="NAME", help=SHORTCUTS["trust-remote-code"][1])
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


class _Version(argparse.Action):
    """Looks the version up only if it is asked for."""

    def __call__(self, *_: object) -> None:
        from importlib.metadata import version

        print(f"distilnlp {version('distilnlp')}")
        sys.exit(0)


def _recipe(args: argparse.Namespace, overrides: Mapping[str, object], purpose: str) -> "Recipe":
    """Read and check a recipe, what can be checked at once first."""
    shortcuts = {
        key: _structured(f"--{flag}", getattr(args, key))
        for flag, (key, _) in SHORTCUTS.items()
        if getattr(args, key) is not None
    }
    values = recipe_values(args.recipe, _together(shortcuts, overrides))
    _begin(f"{purpose} {args.recipe or values.get('output')}")
    from distilnlp.recipe.sections import Recipe
    from distilnlp.validation import parse_section

    return parse_section(Recipe, values)


def _together(shortcuts: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    for key in shortcuts.keys() & overrides.keys():
        raise DistillationError(f"{key} is given by two flags, --{key} and its short form. Give one of them.")
    return {**shortcuts, **overrides}


def _begin(doing: str) -> None:
    """Say what is being done, and load the libraries that it takes."""
    if os.environ.get("RANK", "0") == "0":
        logger.info("%s (loading the libraries)", shortened(redacted(doing), 200))
    if "transformers" not in sys.modules:
        gc.disable()  # what modules make stays: to search it for garbage takes a seventh of the time
        with _leaving_at_an_interrupt():
            import_module("distilnlp.runs")
        gc.freeze()
        gc.enable()
    import transformers

    # transformers announces a new head as a fault, and has a bar for each small file; the plan says what matters.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@contextmanager
def _leaving_at_an_interrupt() -> Iterator[None]:
    """End the process at once if it is interrupted: an import that is cut off can end in any error, or go on."""

    def leave(*_: object) -> None:
        print(INTERRUPTED, file=sys.stderr, flush=True)
        os._exit(130)

    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    before = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cache(args: argparse.Namespace, overrides: Mapping[str, object]) -> None:
    recipe = _recipe(args, overrides, "keep the teacher's answers of")
    from accelerate import PartialState

    from distilnlp.runs import cache

    folder = cache(recipe, overwrite=args.overwrite)
    if PartialState().is_main_process:
        print(f"answers   {folder}")


def _distill(args: argparse.Namespace, overrides: Mapping[str, object]) -> None:
    recipe = _recipe(args, overrides, "check" if args.dry_run else "distil")
    from accelerate import PartialState

    from distilnlp.evaluation import summary_table
    from distilnlp.runs import dry_run, run

    if args.dry_run:
        print(dry_run(recipe, args.overwrite))
        return
    results = run(recipe, overwrite=args.overwrite)
    if not PartialState().is_main_process:
        return
    print(f"\n{_as_list(results['verdict'])}\n\n{summary_table(results['models'])}\n")
    print(f"student   {recipe.output}/student\nfigures   {recipe.output}/results.json")


def _evaluate(args: argparse.Namespace, overrides: Mapping[str, object]) -> None:
    unknown = [key for key in overrides if not key.startswith("data.") and key != "evaluation.metrics"]
    if unknown:
        raise DistillationError(
            f"unknown flag {shown('--' + unknown[0])}: evaluate takes keys of data, such as --data.text_columns, "
            "and --evaluation.metrics."
        )
    file: Path | None = args.json
    if file is not None and (not file.parent.is_dir() or (file.exists() and not file.is_file())):  # also no device
        raise DistillationError(
            f"--json must name a file in a folder that is there, but got {file}. Make the folder, or name another file."
        )
    shortcuts = {
        "data.source": _structured("--data", getattr(args, "data.source")),
        "trust_remote_code": _structured("--trust-remote-code", args.trust_remote_code or "[]"),
        "student": args.student,
        "teacher": args.teacher,
    }
    if getattr(args, "data.test_split") is not None:
        shortcuts["data.test_split"] = getattr(args, "data.test_split")
    values = recipe_values(None, _together(shortcuts, overrides))
    _begin(f"measure {args.student}")
    from distilnlp.data import DataConfig
    from distilnlp.evaluation import summary_table, verdict
    from distilnlp.recipe.sections import EvaluationConfig
    from distilnlp.runs import evaluate_saved
    from distilnlp.validation import parse_section

    section = parse_section(DataConfig, values["data"], "data")
    metrics = parse_section(EvaluationConfig, values.get("evaluation", {}), "evaluation").metrics
    teacher = expanded(args.teacher) if args.teacher else None
    names = values["trust_remote_code"]
    trusted = [expanded(str(name)) for name in ([names] if isinstance(names, str) else names)]
    reports = evaluate_saved(expanded(args.student), section, teacher, args.task, trusted, metrics)
    sentences = verdict(reports)
    print(f"{_as_list(sentences)}\n\n{summary_table(reports)}".lstrip())
    if file is not None:
        write_json(file, {"models": reports, "verdict": sentences})


def _as_list(sentences: Sequence[str]) -> str:
    """Return sentences as a list that is read in a terminal of 80 columns."""
    return "\n".join(textwrap.fill(said, 80, initial_indent="- ", subsequent_indent="  ") for said in sentences)


def _structured(flag: str, value: str) -> Any:
    """Read a value that may be a list or a mapping in YAML, `'{train: train.csv, test: test.csv}'`, or else a text."""
    return _read_value(flag, value) if value.startswith(("{", "[")) else value


def _read_value(flag: str, value: str) -> Any:
    return read_yaml(value, f"the value of {shortened(flag, 200)}, {shown(value)},")


def split_overrides(words: Sequence[str], flags: set[str]) -> tuple[list[str], dict[str, Any]]:
    """Take the flags that are keys of a recipe, `--section.key value` or `--section.key=value`, out of a command line.

    Returns:
        The words that stay, the command's own `flags` among them, and the values by dotted key, read as YAML.

    Raises:
        DistillationError: a key without a value, or a flag that is given twice.
    """
    own: list[str] = []
    overrides: dict[str, Any] = {}
    given: set[str] = set()
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        flag, has_value, value = word.partition("=")
        if not flag.startswith("--"):
            own.append(word)
            continue
        if flag in given:
            raise DistillationError(
                f"the flag {shortened(flag, 200)} is given twice. Several values are one list: "
                f"{shortened(flag, 200)} '[a, b]'."
            )
        given.add(flag)
        if flag in flags:
            own.append(word)
            continue
        if not has_value:
            if not remaining or remaining[0].startswith("--"):
                check_flags([flag[2:]], flags)
                raise DistillationError(
                    f"the flag {shortened(flag, 200)} has no value. Write {shortened(flag, 200)} VALUE."
                )
            value = remaining.pop(0)
        overrides[flag[2:]] = _read_value(flag, value)
    return own, overrides


if __name__ == "__main__":
    sys.exit(main())
