"""What the commands share that take a recipe, or flags for its keys."""

import argparse
from typing import TYPE_CHECKING

from distilnlp.cli.begin import begin
from distilnlp.cli.flags import RecipeFlags, common_flags
from distilnlp.errors import DistillationError
from distilnlp.recipe.text import recipe_values

if TYPE_CHECKING:
    from distilnlp.recipe.sections import Recipe

EPILOG = """\
A value is read as YAML: --data '{{train: train.csv, test: test.csv}}'; a list is a,b or
the flag again. More: docs/recipes.md, docs/command-line.md.

examples:
  distilnlp {name} recipes/sst2.yaml
  distilnlp {name} --teacher my-classifier --data train.csv --output out
  distilnlp {name} recipes/sst2.yaml --num-layers 2 --output out/two-layers
"""


def add_recipe(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the recipe, all its keys, and `--overwrite` to a command of this name."""
    parser.usage = f"distilnlp {name} [RECIPE] [--KEY VALUE ...]"
    parser.description = f"{parser.description}\n\nset most often:\n{common_flags()}"
    parser.epilog = EPILOG.format(name=name)
    parser.add_argument("recipe", nargs="?", help="a YAML file; without it --teacher, --data and --output are needed")
    parser.add_argument("--overwrite", action="store_true", help="delete another run in the output folder")
    parser.set_defaults(flags=RecipeFlags(parser))


def read_recipe(args: argparse.Namespace, purpose: str) -> "Recipe":
    """Read and check a recipe, what can be checked at once first."""
    values = recipe_values(args.recipe, args.overrides)
    missing = [f"--{name}" for name in ("teacher", "data", "output") if name not in values]
    if missing and args.recipe is None:
        raise DistillationError(
            f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing. Give "
            f"{'them' if len(missing) > 1 else 'it'}, or a recipe; `distilnlp init` writes one."
        )
    begin(f"{purpose} {args.recipe or values.get('output')}", args.mode)
    from distilnlp.recipe.sections import Recipe
    from distilnlp.validation import parse_section

    return parse_section(Recipe, values)
