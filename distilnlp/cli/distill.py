"""`distilnlp distill`: carry out a recipe."""

import argparse

from distilnlp.cli.recipe import add_recipe, read_recipe

HELP = "run a recipe, or distil a teacher on your data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("--dry-run", action="store_true", help="check everything, print the plan, train nothing")
    add_recipe(parser, "distill")


def run(args: argparse.Namespace) -> None:
    """Carry it out, or say what would be done."""
    recipe = read_recipe(args, "check" if args.dry_run else "distil")
    from accelerate import PartialState

    from distilnlp.cli.results import show_results
    from distilnlp.runs import dry_run, run
    from distilnlp.screen import current

    if args.dry_run:
        plan = dry_run(recipe, args.overwrite)
        current().event("results", plan=plan)
        if args.mode != "json":
            print(plan)
        return
    results = run(recipe, overwrite=args.overwrite)
    if PartialState().is_main_process:
        show_results(results, recipe.output, args.mode)
