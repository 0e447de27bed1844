"""`distilnlp report`: write the page of a run again, or one page for several runs."""

import argparse
from pathlib import Path

from distilnlp.cli.begin import begin
from distilnlp.files import check_can_be_written, expanded

HELP = "write the page that shows a run, or several side by side"
PAGE = "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.usage = "distilnlp report RUN [RUN ...] [--output FILE]"
    parser.add_argument("runs", nargs="+", metavar="RUN", help="output folder of a finished run")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help=f"file to write; default: {PAGE} in the folder of the run, of several runs here",
    )


def run(args: argparse.Namespace) -> None:
    """Write it."""
    runs = [expanded(name) for name in args.runs]
    file = Path(expanded(args.output)) if args.output else Path(runs[0] if len(runs) == 1 else ".") / PAGE
    if args.output or file.is_dir():
        check_can_be_written("--output", file)
    begin(f"report on {', '.join(runs)}", args.mode)
    from distilnlp.report import write_report
    from distilnlp.screen import current

    write_report(runs, file)
    current().event("results", report=str(file))
    if args.mode != "json":
        print(f"report    {file}")
