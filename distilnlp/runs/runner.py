"""Carry out a recipe: check it, then make every step that is not up to date; or only say what would be done."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
from accelerate import PartialState

from distilnlp.data import PreparedData, prepare_data
from distilnlp.errors import UnreachableError
from distilnlp.recipe.sections import Recipe
from distilnlp.recipe.text import write_yaml
from distilnlp.runs.checks import CHECKED_ROWS, PLAN_CHECKS, ROW_CHECKS, refuse_what_cannot_be_kept
from distilnlp.runs.describe import describe, labels_text
from distilnlp.runs.duration import say_how_long
from distilnlp.runs.findings import findings, raise_all, raise_first
from distilnlp.runs.folder import check_folder, claimed, naming_the_disk
from distilnlp.runs.models import find_task
from distilnlp.runs.plan import Plan
from distilnlp.runs.rows import RunRows
from distilnlp.runs.steps import Steps

logger = logging.getLogger(__name__)


def run(recipe: Recipe, overwrite: bool = False) -> dict[str, Any]:
    """Carry out a recipe and return the content of its `results.json`.

    Args:
        recipe: what to do; see `load_recipe`.
        overwrite: delete what another run left in the output folder.

    Raises:
        DistillationError: something does not fit; before any training.
        OSError: a disk is full or broken; what was finished is kept.
    """
    with naming_the_disk(Path(recipe.output)):
        check_folder(recipe, overwrite)
        steps = Steps(Plan(recipe))
        if overwrite or not steps.is_finished:
            _check(steps)
        with _claimed(recipe, overwrite):
            return steps.results()


def cache(recipe: Recipe, overwrite: bool = False) -> Path:
    """Carry out a recipe up to the teacher's answers to the training rows, and return the folder they are kept in.

    Raises:
        DistillationError: something does not fit, or these answers cannot be kept.
        OSError: see `run`.
    """
    with naming_the_disk(Path(recipe.output)):
        check_folder(recipe, overwrite)
        steps = Steps(Plan(recipe))
        _check(steps)
        refuse_what_cannot_be_kept(steps.rows, is_asked_for=True)
        with _claimed(recipe, overwrite):
            return steps.kept_answers()


def make_plan(recipe: Recipe) -> Plan:
    """Settle what a recipe leaves open and check it: arguments, task, teacher, data, labels, student and losses.

    Raises:
        DistillationError: anything that does not fit, before any training.
    """
    plan = Plan(recipe)
    raise_first(findings(PLAN_CHECKS, plan))
    return plan


def dry_run(recipe: Recipe, overwrite: bool = False) -> str:
    """Check everything that can be checked without the network, and return the resolved plan as text.

    Raises:
        DistillationError: all that does not fit, at once.
    """
    with _without_network(recipe):
        check_folder(recipe, overwrite)
        plan = Plan(recipe)
        try:
            raise_all(findings(PLAN_CHECKS, plan))
            raise_all(findings(ROW_CHECKS, RunRows(plan, _first_rows(plan.data))))
            told = f"{describe(plan)}\n\n{plan.cost}\n\n{write_yaml({'trainings': plan.trainings}).rstrip()}"
        except UnreachableError as error:
            told = f"NOT CHECKED, because it is not on this machine: {error}{_check_data_alone(plan)}"
    return f"{told}\n\n{_what_was_done(recipe)}"


def _check(steps: Steps) -> None:
    """Check all before anything is deleted, written or trained, and say what will be done."""
    raise_first(findings(PLAN_CHECKS, steps.plan))
    if PartialState().is_main_process:
        logger.info("plan\n%s", describe(steps.plan))
    raise_first(findings(ROW_CHECKS, steps.rows))
    say_how_long(steps)


@contextmanager
def _claimed(recipe: Recipe, overwrite: bool) -> Iterator[None]:
    """Work alone in the run's folder while this lasts: the main process claims it for all."""
    state = PartialState()
    state.wait_for_everyone()
    with claimed(recipe, overwrite) if state.is_main_process else nullcontext():
        state.wait_for_everyone()
        yield


def _what_was_done(recipe: Recipe) -> str:
    """Say what a dry run leaves, and whose code it ran."""
    named = recipe.data.source if isinstance(recipe.data.source, str) else ""
    metrics = [metric.name for metric in recipe.evaluation.metrics]
    code = [*(source for source in (named, *recipe.data.unlabelled) if ":" in source), *metrics]
    copies = f", and the code of metrics in that of evaluate ({_evaluate().HF_MODULES_CACHE})" if metrics else ""
    ran = f" The Python code of {', '.join(code)} was run, whatever it does." if code else ""
    return (
        "Nothing was trained, and nothing was written but rows in the cache of the datasets library "
        f"({datasets.config.HF_DATASETS_CACHE}){copies}: this was a dry run.{ran}"
    )


def _check_data_alone(plan: Plan) -> str:
    """Check the rows of a recipe whose models are not there."""
    teacher = plan.recipe.teacher
    try:
        rows = find_task(plan.recipe.task, None).rows
        data = prepare_data(plan.recipe.data, rows, None, teacher.text_columns, teacher.columns)
    except UnreachableError as error:
        return f"\nNOT CHECKED either: {error}"
    return f"\nThe data is fine: {len(data.train):,} rows to train on{labels_text(data)}."


def _first_rows(data: PreparedData) -> PreparedData:
    """Return a few rows of each split: what does not fit shows in these."""
    train, test = (part.select(range(min(len(part), CHECKED_ROWS))) for part in (data.train, data.test))
    return replace(data, train=train, test=test, validation=None)


def _evaluate() -> Any:
    """Return the settings of the evaluate library, which takes a second to import."""
    from evaluate import config

    return config


@contextmanager
def _without_network(recipe: Recipe) -> Iterator[None]:
    """Keep the Hub libraries from reaching for the network, whatever the environment says."""
    settings = [
        (huggingface_hub.constants, "HF_HUB_OFFLINE"),
        (datasets.config, "HF_HUB_OFFLINE"),
        *([(_evaluate(), "HF_EVALUATE_OFFLINE")] if recipe.evaluation.metrics else []),
    ]
    before = [getattr(module, name) for module, name in settings]
    try:
        for module, name in settings:
            setattr(module, name, True)
        yield
    finally:
        for (module, name), value in zip(settings, before, strict=True):
            setattr(module, name, value)
