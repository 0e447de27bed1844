"""`distilnlp launch`: a command on several processes, by accelerate's launcher."""

import argparse
import subprocess
import sys

from distilnlp.errors import DistillationError

HELP = "run a command on several processes or machines, by accelerate"
USAGE = "distilnlp launch [OPTIONS OF accelerate launch] distill [RECIPE] [--KEY VALUE ...]"
EXAMPLE = "example:\n  distilnlp launch --num_processes 2 distill recipe.yaml\n\nall options: accelerate launch --help"
LAUNCHED = ("distill", "cache")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes: all of it is passed on."""
    parser.usage = USAGE
    parser.epilog = EXAMPLE
    parser.set_defaults(passes_on=True)


def run(args: argparse.Namespace) -> None:
    """Start the processes and wait for them.

    Raises:
        SystemExit: with the status of the launcher, unless all went well.
    """
    words: list[str] = args.words
    place = next((number for number, word in enumerate(words) if word in LAUNCHED), None)
    if place is None:
        raise DistillationError(f"expected a command to launch, one of {', '.join(LAUNCHED)}. Usage: {USAGE}")
    command = [sys.executable, "-m", "accelerate.commands.launch", *words[:place], "-m", "distilnlp", *words[place:]]
    status = subprocess.run(command).returncode
    if status:
        sys.exit(status)
