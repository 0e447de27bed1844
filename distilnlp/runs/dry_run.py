"""A dry run: everything checked that can be checked without the network, and the plan as text."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import datasets
import huggingface_hub.constants

from distilnlp.data import prepare_data
from distilnlp.errors import UnreachableError
from distilnlp.recipe.sections import Recipe
from distilnlp.recipe.text import write_yaml
from distilnlp.runs.folder import check_folder
from distilnlp.runs.models import find_task
from distilnlp.runs.pipeline import Pipeline
from distilnlp.runs.plan import Plan, describe, labels_text, make_plan

CHECKED_ROWS = 500  # of each split


def dry_run(recipe: Recipe, overwrite: bool = False) -> str:
    """Check everything that can be checked without the network, and return the resolved plan as text.

    Raises:
        DistillationError: anything that does not fit.
    """
    with without_network():
        check_folder(recipe, overwrite)
        try:
            made = make_plan(recipe)
            Pipeline(_first_rows(made))
            plan = f"{describe(made)}\n\n{write_yaml({'trainings': made.trainings}).rstrip()}"
        except UnreachableError as error:
            plan = f"NOT CHECKED, because it is not on this machine: {error}{_check_data_alone(recipe)}"
    return f"{plan}\n\n{_what_was_done(recipe)}"


def _what_was_done(recipe: Recipe) -> str:
    """Say what a dry run leaves, and whose code it ran."""
    named = recipe.data.source if isinstance(recipe.data.source, str) else ""
    code = [source for source in (named, *recipe.data.unlabelled) if ":" in source]
    ran = f" The Python code of {', '.join(code)} was run, whatever it does." if code else ""
    return (
        "Nothing was trained, and nothing was written but rows in the cache of the datasets library "
        f"({datasets.config.HF_DATASETS_CACHE}): this was a dry run.{ran}"
    )


def _check_data_alone(recipe: Recipe) -> str:
    try:
        task = find_task(recipe.task, None)
        data = prepare_data(recipe.data, task.rows, None, recipe.teacher.text_columns, recipe.teacher.columns)
    except UnreachableError as error:
        return f"\nNOT CHECKED either: {error}"
    return f"\nThe data is fine: {len(data.train):,} rows to train on{labels_text(data)}."


def _first_rows(plan: Plan) -> Plan:
    """Return a plan of a few rows of each split: what does not fit shows in these."""
    data = plan.data
    train, test = (part.select(range(min(len(part), CHECKED_ROWS))) for part in (data.train, data.test))
    return replace(plan, data=replace(data, train=train, test=test, validation=None))


@contextmanager
def without_network() -> Iterator[None]:
    """Keep the Hub libraries from reaching for the network, whatever the environment says."""
    hub, data = huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = hub, data
