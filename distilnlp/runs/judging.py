"""What a teacher that was trained here is worth, before a student learns from it."""

import logging
from collections.abc import Mapping
from typing import Any

from distilnlp.evaluation import measure_quality, teacher_warnings
from distilnlp.runs.encoding import EncodedRows
from distilnlp.runs.plan import Plan
from distilnlp.runs.teacher_sample import RESAMPLES
from distilnlp.training.stopping import HELD_OUT, hold_out

logger = logging.getLogger(__name__)


def warn_of_teacher(plan: Plan, models: Mapping[str, Any], rows: Mapping[str, EncodedRows]) -> None:
    """Warn of a teacher at chance, or below the labels alone, on rows that no training has learned, if there are any.

    Args:
        plan: of the run.
        models: the `teacher`, if it is a model, and the `baseline` if there is one.
        rows: what each of them reads.
    """
    # With views of their own their items need not be the same.
    encoded = None if plan.has_two_views or "teacher" not in models else _unlearned(plan, models, rows)
    if encoded is None:
        return
    task, first = plan.task.evaluation, models["teacher"].config
    examples = {name: list(part) for name, part in encoded.items()}
    answers = {
        name: task.align(task.predict(model, examples[name], rows[name].collate, 32, name), model.config, first)
        for name, model in models.items()
    }
    labels = task.read_labels(examples["teacher"], first)
    for said in teacher_warnings(measure_quality(answers, labels, task, resamples=RESAMPLES)):
        logger.warning("before the student is trained, on %d rows: %s", len(examples["teacher"]), said)


def _unlearned(plan: Plan, models: Mapping[str, Any], rows: Mapping[str, EncodedRows]) -> dict[str, Any] | None:
    """Return labelled rows that none of the models has learned, as each reads them; None if there are none."""
    trained = [name for name in models if name in plan.trainings]
    if not trained:
        return None
    validation = {name: rows[name].validation for name in models}
    if all(part is not None for part in validation.values()):
        return validation
    is_of_several = plan.recipe.teacher.folds is not None or any(member.prefix for member in plan.members)
    if is_of_several or any(plan.stopped.get(name) != HELD_OUT for name in trained):
        return None
    _, held = hold_out(plan.data.labelled, plan.task.rows, plan.recipe.seed)
    return {name: rows[name].encode(held, "held-out", for_evaluation=True) for name in models}
