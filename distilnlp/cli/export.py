"""`distilnlp export`: graphs of a student, which other runtimes serve."""

import argparse
from dataclasses import asdict

from distilnlp.cli.begin import begin
from distilnlp.cli.flags import RecipeFlags
from distilnlp.cli.recipe import trusted_names
from distilnlp.files import expanded
from distilnlp.recipe.text import recipe_values

HELP = "write a student as graphs, ONNX in fp32 and int8 and others, for runtimes without torch"
SECTIONS = ("task", "data", "export", "trust_remote_code")
SHORT = {
    "data": "data.source",
    "text-column": "data.text_columns",
    "max-length": "data.max_length",
    "formats": "export.formats",
    "min-agreement": "export.min_agreement",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.usage = "distilnlp export STUDENT [--data FILE] [--formats onnx,onnx-int8,openvino,executorch]"
    parser.epilog = "int8 must give --min-agreement, 0.99, of its answers to the texts of --data as fp32 does."
    parser.add_argument("student", metavar="STUDENT", help="folder of the student; the graphs lie in it")
    parser.set_defaults(flags=RecipeFlags(parser, SECTIONS, SHORT))


def run(args: argparse.Namespace) -> None:
    """Export, and say what was made."""
    values = recipe_values(None, {**args.overrides, "student": args.student})
    begin(f"export {args.student}", args.mode)
    from distilnlp.cli.results import export_lines
    from distilnlp.data import DataConfig
    from distilnlp.export import ExportConfig
    from distilnlp.runs import export_saved
    from distilnlp.screen import current
    from distilnlp.validation import parse_section

    data = parse_section(DataConfig, values["data"], "data") if "source" in values.get("data", {}) else None
    config = parse_section(ExportConfig, values.get("export", {}), "export")
    student = expanded(args.student)
    made = export_saved(student, config, data, values.get("task"), trusted_names(values))
    current().event("results", exports=[asdict(one) for one in made])
    if args.mode == "json":
        return
    print(*(line for one in made for line in export_lines(one, args.student)), sep="\n")
    if all(one.int8 is None for one in made):
        print("int8 was not made: name texts that it must agree on, --data FILE")
    call = f"OnnxPredictor({args.student!r})(TEXTS)"
    print("", "next", f"  from distilnlp.serving import OnnxPredictor; {call}", sep="\n")
