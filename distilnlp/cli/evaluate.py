"""`distilnlp evaluate`: measure a student, and its teacher beside it."""

import argparse
from pathlib import Path

from distilnlp.cli.begin import begin
from distilnlp.cli.flags import RecipeFlags
from distilnlp.cli.recipe import trusted_names
from distilnlp.errors import DistillationError
from distilnlp.files import check_can_be_written, expanded, unique_tails, write_json
from distilnlp.recipe.text import recipe_values

HELP = "measure a model, and its teacher beside it"
SPLIT = "data.test_split"
SECTIONS = ("data", "task", "evaluation.metrics", "trust_remote_code")
SHORT = {"data": "data.source", "split": SPLIT, "trust-remote-code": "trust_remote_code"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.usage = "distilnlp evaluate STUDENT --data DATA [--teacher TEACHER] [--KEY VALUE ...]"
    parser.epilog = "--data is --data.source; --split is --data.test_split: test, else validation, else train."
    parser.add_argument("student", help="local folder or Hub id of the student")
    parser.add_argument("--teacher", help="local folder or Hub id of its teacher")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the figures to this file, as JSON")
    parser.set_defaults(flags=RecipeFlags(parser, SECTIONS, SHORT))


def run(args: argparse.Namespace) -> None:
    """Measure, and show the figures."""
    file: Path | None = args.output
    if file is not None:
        check_can_be_written("--output", file)
    values = recipe_values(None, {**args.overrides, "student": args.student, "teacher": args.teacher})
    if "source" not in values.get("data", {}):
        raise DistillationError("--data is missing: name the labelled text to measure on.")
    begin(f"measure {args.student}", args.mode)
    from distilnlp.cli.results import show_reports
    from distilnlp.data import DataConfig
    from distilnlp.evaluation import in_names, verdict
    from distilnlp.recipe.sections import EvaluationConfig
    from distilnlp.runs import evaluate_saved
    from distilnlp.screen import current
    from distilnlp.validation import parse_section

    section = parse_section(DataConfig, values["data"], "data")
    metrics = parse_section(EvaluationConfig, values.get("evaluation", {}), "evaluation").metrics
    teacher = expanded(args.teacher) if args.teacher else None
    trusted = trusted_names(values)
    reports = evaluate_saved(expanded(args.student), section, teacher, values.get("task"), trusted, metrics)
    given = {"student": args.student, **({"teacher": args.teacher} if args.teacher else {})}
    names = dict(zip(given, unique_tails(list(given.values())), strict=True))
    if len(set(names.values())) < len(names):  # a model beside itself
        names = {role: f"{name} ({role})" for role, name in names.items()}
    sentences = in_names(verdict(reports), names)
    figures = {"names": given, "models": reports, "verdict": sentences}
    current().event("results", **figures)
    if args.mode != "json":
        show_reports({names.get(role, role): report for role, report in reports.items()}, sentences)
    if file is not None:
        write_json(file, figures)
