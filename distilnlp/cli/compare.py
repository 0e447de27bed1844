"""`distilnlp compare`: runs side by side, and whether their students differ."""

import argparse
import textwrap

from distilnlp.cli.begin import begin
from distilnlp.files import expanded

HELP = "put runs side by side, and say whether a difference is real"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.usage = "distilnlp compare RUN RUN [RUN ...]"
    parser.add_argument("runs", nargs="+", metavar="RUN", help="output folder of a finished run")


def run(args: argparse.Namespace) -> None:
    """Compare them."""
    folders = [expanded(name) for name in args.runs]
    begin(f"compare {', '.join(folders)}", args.mode)
    from distilnlp.cli.results import WIDTH, show_reports
    from distilnlp.report import Comparison, Evidence
    from distilnlp.screen import current

    comparison = Comparison.of([Evidence.of(folder) for folder in folders])
    differences = dict(comparison.differences)
    current().event("results", models=comparison.reports, verdict=comparison.said, differences=differences)
    if args.mode == "json":
        return
    show_reports(comparison.reports, comparison.said)
    print("\nwhat differs in the recipes" if differences else "\nThe recipes are the same.")
    for key, values in differences.items():
        print(f"  {key}")
        for name, value in zip(comparison.runs, values, strict=True):
            indent = " " * 6 + f"{name}: "
            print(textwrap.fill(value, WIDTH, initial_indent=indent, subsequent_indent=" " * 8))
