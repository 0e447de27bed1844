"""The `distilnlp` command: which commands there are, how a command line is read, and how it ends.

What takes time to import, torch and transformers above all, is imported where a command needs it: help and most errors
come at once, and the others after a first line that says what is being done.
"""

import argparse
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from distilnlp.cli.begin import at_signals
from distilnlp.cli.flags import RecipeFlags, check_flags
from distilnlp.errors import DistillationError, NonFiniteLossError, did_you_mean, shown
from distilnlp.recipe.text import refuse_secrets
from distilnlp.screen import current

# A command is a module with `HELP`, `add_arguments(parser)` and `run(args)`.
COMMANDS = {
    "init": "distilnlp.cli.init",
    "distill": "distilnlp.cli.distill",
    "cache": "distilnlp.cli.cache",
    "evaluate": "distilnlp.cli.evaluate",
    "export": "distilnlp.cli.export",
    "predict": "distilnlp.cli.predict",
    "serve": "distilnlp.cli.serve",
    "benchmark": "distilnlp.cli.benchmark",
    "compare": "distilnlp.cli.compare",
    "report": "distilnlp.cli.report",
    "push": "distilnlp.cli.push",
    "launch": "distilnlp.cli.launch",
    "completion": "distilnlp.cli.completion",
}
MODES = {"--quiet": "quiet", "--verbose": "verbose", "--json": "json"}
DEBUG = "--debug"
GENERAL = """\
of every command:
  --quiet               show warnings and the results alone
  --verbose             show what all libraries say
  --json                write events and results as lines of JSON
  --debug               show the traceback of an error
  -h, --help            show the help of a command, with all its flags
  --version             show the version\
"""
INPUT, FAILURE, INTERRUPTED, TERMINATED = 2, 1, 130, 143  # exit statuses
GO_ON = "Give the same command again to go on from the last checkpoint."


class Terminated(BaseException):
    """The process was asked to end."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Returns:
        0, 2 for wrong input, 1 for a failure, 130 after an interrupt, 143 if the process was told to end.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with at_signals(_terminate, signal.SIGTERM):
            _run([word for word in words if word != DEBUG])
        return 0
    except KeyboardInterrupt:
        return _end(f"interrupted. {GO_ON}", INTERRUPTED)
    except Terminated:
        return _end(f"terminated. {GO_ON}", TERMINATED)
    except Exception as error:
        if DEBUG in words:
            traceback.print_exc()
        return _end(*_said_of(error))


def _run(words: list[str]) -> None:
    modes = list(dict.fromkeys(MODES[word] for word in words if word in MODES))
    if len(modes) > 1:
        raise DistillationError(f"--{' and --'.join(modes)} exclude one another. Give one of them.")
    words = [word for word in words if word not in MODES]
    valued = next((word for word in words if word.partition("=")[0] in (*MODES, DEBUG)), None)
    if valued is not None:
        raise DistillationError(
            f"{valued.partition('=')[0]} takes no value, but got {shown(valued)}. Leave the value out; figures are "
            "written by evaluate --output FILE."
        )
    refuse_secrets({"the command line": words})
    name, *rest = words or ["--help"]
    if name == "--version":
        print(f"distilnlp {version('distilnlp')}")
    elif name in ("-h", "--help"):
        print(_overview())
        if not words:
            raise DistillationError(f"COMMAND is missing: one of {', '.join(COMMANDS)}.")
    elif name not in COMMANDS:
        hint = did_you_mean(name, [*COMMANDS, "--help", "--version"])
        raise DistillationError(f"there is no COMMAND {shown(name)}: there are {', '.join(COMMANDS)}.{hint}")
    else:
        args = read_words(parser_of(name), rest)
        args.mode = modes[0] if modes else "auto"
        import_module(COMMANDS[name]).run(args)
        _leave_the_others()


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    command = import_module(COMMANDS[name])
    parser = argparse.ArgumentParser(
        prog=f"distilnlp {name}",
        description=command.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return parser


def read_words(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Read the words after a command; `overrides` of the result are the keys of a recipe that were given."""
    if parser.get_default("passes_on") and words[:1] not in (["-h"], ["--help"]):  # to another program
        return argparse.Namespace(words=words)
    flags: RecipeFlags | None = parser.get_default("flags")
    if flags is not None:
        words = flags.spelt_out(words)
    if not {"-h", "--help"} & set(words):
        check_flags(words, parser)
    args = parser.parse_args(words)
    if flags is not None:
        args.overrides = flags.values(args)
    return args


def _overview() -> str:
    lines = [f"  {name:<22}{import_module(module).HELP}" for name, module in COMMANDS.items()]
    return "\n".join(
        [
            "usage: distilnlp COMMAND ...",
            "",
            "Give it your classifier and your text: it distils the smallest student that is",
            "still good enough.",
            "",
            "commands:",
            *lines,
            "",
            GENERAL,
        ]
    )


# ---- How it ends ----


def _said_of(error: Exception) -> tuple[str, int]:
    """Return what is said of an error, and the exit status."""
    if isinstance(error, NonFiniteLossError):
        return f"training stopped: {error}", FAILURE
    if isinstance(error, DistillationError):
        return str(error), INPUT
    if isinstance(error, OSError):  # a full disk, a file that cannot be written
        return f"{error}. What was finished is kept: run the same command again.", FAILURE
    return (
        f"an unexpected error, perhaps a fault of distilnlp: {type(error).__name__}: {error}. What was finished is "
        f"kept; {DEBUG} shows where the error comes from.",
        FAILURE,
    )


def _end(said: str, status: int) -> int:
    current().close()
    print(f"distilnlp: {said}", file=sys.stderr)
    current().event("error", text=said, status=status)
    return status


def _leave_the_others() -> None:
    """End the group of processes that worked together: its threads must not outlive the interpreter."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _terminate(*_: object) -> None:
    """Make the signal by which schedulers end a process an exception: files and the terminal are left whole."""
    raise Terminated
