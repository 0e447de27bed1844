"""`distilnlp push`: a student goes to the Hub."""

import argparse
from dataclasses import asdict

from distilnlp.cli.begin import begin
from distilnlp.files import expanded

HELP = "push a student to the Hub, with its graphs, card, recipe, results and report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.usage = "distilnlp push STUDENT REPO [--private] [--revision BRANCH] [--licence apache-2.0]"
    parser.add_argument("student", metavar="STUDENT", help="folder of a student, or of a run")
    parser.add_argument("repo", metavar="REPO", help="OWNER/NAME on the Hub; made if it is not there")
    parser.add_argument("--private", action="store_true", help="make the repository private, if it is made")
    parser.add_argument("--revision", metavar="BRANCH", help="default: main")
    parser.add_argument("--licence", metavar="NAME", help="of the student, for its card, as apache-2.0")
    parser.add_argument("--message", metavar="TEXT", help="of the commit")


def run(args: argparse.Namespace) -> None:
    """Push, and say where it lies."""
    begin(f"push {args.student} to {args.repo}", args.mode)
    from distilnlp.runs import push_saved
    from distilnlp.screen import current

    student = expanded(args.student)
    pushed = push_saved(student, args.repo, args.private, args.revision, args.licence, args.message)
    current().event("results", **asdict(pushed))
    if args.mode != "json":
        print(f"pushed    {pushed.url}")
