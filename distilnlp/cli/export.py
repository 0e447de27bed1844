"""`distilnlp export`: ONNX graphs of a student, which other runtimes serve."""

import argparse

from distilnlp.cli.begin import begin
from distilnlp.cli.flags import RecipeFlags
from distilnlp.cli.recipe import trusted_names
from distilnlp.errors import DistillationError, shown
from distilnlp.files import expanded
from distilnlp.recipe.text import recipe_values

HELP = "write a student as ONNX graphs, in fp32 and int8, for runtimes without torch"
SECTIONS = ("task", "data", "trust_remote_code")
SHORT = {"data": "data.source", "text-column": "data.text_columns", "max-length": "data.max_length"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.usage = "distilnlp export STUDENT [--data FILE] [--min-agreement SHARE]"
    parser.add_argument("student", metavar="STUDENT", help="folder of the student; the graphs lie in onnx/ in it")
    parser.add_argument(
        "--min-agreement",
        default="0.99",
        metavar="SHARE",
        help="of the answers to --data that int8 must give as fp32 does, or parts stay in fp32; default: 0.99",
    )
    parser.set_defaults(flags=RecipeFlags(parser, SECTIONS, SHORT))


def run(args: argparse.Namespace) -> None:
    """Export, and say what was made."""
    values, least = recipe_values(None, {**args.overrides, "student": args.student}), _share(args.min_agreement)
    begin(f"export {args.student}", args.mode)
    from distilnlp.data import DataConfig
    from distilnlp.runs import export_saved
    from distilnlp.screen import current
    from distilnlp.validation import parse_section

    section = parse_section(DataConfig, values["data"], "data") if "source" in values.get("data", {}) else None
    student, trusted = expanded(args.student), trusted_names(values)
    made = export_saved(student, section, values.get("task"), trusted, least)
    sizes = {str(path): path.stat().st_size for path in (made.fp32, made.int8) if path is not None}
    tried = made.tried
    facts = None if tried is None else {"agreement": tried.agreement, "in fp32": list(tried.kept)}
    current().event("results", files=sizes, int8=facts, rows=made.rows)
    if args.mode == "json":
        return
    print(f"fp32      {made.fp32} ({sizes[str(made.fp32)] / 1e6:.1f} MB), the logits of torch")
    if tried is None:
        print("int8      not made: name texts that it must agree on, --data FILE")
    elif made.int8 is None:
        print(f"int8      refused: it gives {tried.agreement:.1%} of {made.rows} answers as fp32 does")
    else:
        left = f"; in fp32: {', '.join(tried.kept)}" if tried.kept else ""
        size = f"{sizes[str(made.int8)] / 1e6:.1f} MB"
        print(f"int8      {made.int8} ({size}), {tried.agreement:.1%} of {made.rows} answers as fp32{left}")
    call = f"OnnxPredictor({args.student!r})(TEXTS)"
    print("", "next", f"  from distilnlp.serving import OnnxPredictor; {call}", sep="\n")


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise DistillationError(f"--min-agreement must be from 0 to 1, but it is {shown(text)}. Give a share, as 0.99.")
    return share
