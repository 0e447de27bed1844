"""`distilnlp predict`: a student labels the rows of a file."""

import argparse
from pathlib import Path

from distilnlp.cli.begin import begin
from distilnlp.cli.flags import RecipeFlags
from distilnlp.cli.recipe import trusted_names
from distilnlp.errors import DistillationError
from distilnlp.files import check_can_be_written, expanded
from distilnlp.recipe.text import recipe_values

HELP = "label the rows of a file by a student, and go on after a kill"
SECTIONS = ("task", "data", "trust_remote_code")
SHORT = {
    "data": "data.source",
    "split": "data.test_split",
    "text-column": "data.text_columns",
    "max-length": "data.max_length",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.usage = "distilnlp predict STUDENT --data FILE --output FILE [--runtime onnx|torch]"
    parser.add_argument("student", metavar="STUDENT", help="folder of the student")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write: .parquet, .jsonl or .csv")
    parser.add_argument(
        "--runtime", choices=("onnx", "torch"), help="default: onnx, in int8 if there is one, where it is exported"
    )
    parser.set_defaults(flags=RecipeFlags(parser, SECTIONS, SHORT))


def run(args: argparse.Namespace) -> None:
    """Label the rows."""
    values = recipe_values(None, {**args.overrides, "student": args.student})
    missing = [
        name
        for name, is_there in (("--data", "source" in values.get("data", {})), ("--output", args.output))
        if not is_there
    ]
    if missing:
        raise DistillationError(f"{' and '.join(missing)} must be given: the rows, and the file for the answers.")
    check_can_be_written("--output", args.output)
    begin(f"answers of {args.student}", args.mode)
    from distilnlp.data import DataConfig
    from distilnlp.runs import predict_saved
    from distilnlp.screen import current
    from distilnlp.validation import parse_section

    section = parse_section(DataConfig, values["data"], "data")
    student, trusted = expanded(args.student), trusted_names(values)
    count = predict_saved(student, section, args.output, values.get("task"), trusted, args.runtime)
    current().event("results", output=str(args.output), rows=count)
    if args.mode != "json":
        print(f"answers   {args.output} ({count:,} rows)")
