"""`distilnlp cache`: ask the teacher of a recipe once, and keep its answers."""

import argparse

from distilnlp.cli.recipe import add_recipe, read_recipe

HELP = "ask the teacher of a recipe once, and keep its answers on disk"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    add_recipe(parser, "cache")


def run(args: argparse.Namespace) -> None:
    """Ask the teacher."""
    recipe = read_recipe(args, "keep the teacher's answers of")
    from accelerate import PartialState

    from distilnlp.runs import cache
    from distilnlp.screen import current

    folder = cache(recipe, overwrite=args.overwrite)
    if PartialState().is_main_process:
        current().event("results", answers=folder)
        if args.mode != "json":
            print(f"answers   {folder}")
