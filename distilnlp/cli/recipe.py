"""What the commands share that take a recipe, or flags for its keys."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distilnlp.cli.begin import begin
from distilnlp.cli.flags import RecipeFlags, common_flags
from distilnlp.errors import DistillationError
from distilnlp.files import expanded
from distilnlp.recipe.text import check_texts, recipe_values

if TYPE_CHECKING:
    from distilnlp.recipe.sections import Recipe

SPLITS = ("test", "validation")
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
    for split in SPLITS:
        parser.add_argument(f"--{split}", metavar="FILE", help=f"rows of the {split} split, where --data is one file")
    parser.add_argument("--overwrite", action="store_true", help="delete another run in the output folder")
    parser.set_defaults(flags=RecipeFlags(parser))


def trusted_names(values: Mapping[str, Any]) -> list[str]:
    """Return the models whose own code may run, as `--trust_remote_code` names one or several."""
    names = values.get("trust_remote_code") or []
    return [expanded(str(name)) for name in ([names] if isinstance(names, str) else names)]


def _add_splits(values: dict[str, Any], files: Mapping[str, str]) -> None:
    """Put the files of further splits beside the training data."""
    if not files:
        return
    data = values.setdefault("data", {})
    source = data.get("source") if isinstance(data, dict) else None
    splits = {"train": source} if isinstance(source, str) else source
    twice = [split for split in files if isinstance(splits, dict) and split in splits]
    if not isinstance(splits, dict) or twice:
        flag = f"--{twice[0] if twice else next(iter(files))}"
        said = f"--data names a {twice[0]} split already" if twice else "--data, the training rows, is missing"
        raise DistillationError(f"{flag} names a file beside --data, but {said}. Give each split once.")
    data["source"] = {**splits, **files}
    check_texts(values)


def read_recipe(args: argparse.Namespace, purpose: str) -> "Recipe":
    """Read and check a recipe, what can be checked at once first."""
    values = recipe_values(args.recipe, args.overrides)
    _add_splits(values, {split: getattr(args, split) for split in SPLITS if getattr(args, split) is not None})
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
