"""What a teacher that was trained here is worth, before a student learns from it."""

import logging
from collections.abc import Mapping
from typing import Any

from distilnlp.evaluation import evaluate_models, teacher_warnings
from distilnlp.runs.encoding import EncodedRows
from distilnlp.runs.plan import Plan
from distilnlp.runs.stopping import hold_out
from distilnlp.runs.teacher_sample import RESAMPLES

logger = logging.getLogger(__name__)


def warn_of_teacher(plan: Plan, models: Mapping[str, Any], rows: Mapping[str, EncodedRows]) -> None:
    """Warn of a teacher at chance, or below the labels alone, on rows that no training has learned, if there are any.

    Args:
        plan: of the run.
        models: the `teacher`, and the `baseline` if there is one.
        rows: what each of them reads.
    """
    if plan.has_two_views:  # their items need not be the same
        models = {name: model for name, model in models.items() if name == "teacher"}
    trained = {name for name in models if name in plan.trainings}
    encoded = {name: rows[name].validation for name in models}
    if "teacher" not in models or not trained:
        return
    if any(part is None for part in encoded.values()):
        is_of_several = plan.recipe.teacher.folds is not None or any(member.prefix for member in plan.members)
        if is_of_several or not trained <= plan.stopped:
            return
        _, held = hold_out(plan.data.labelled, plan.task.rows, plan.recipe.seed)
        encoded = {name: rows[name].encode(held, "held-out", for_evaluation=True) for name in models}
    reports = evaluate_models(
        models,
        {name: list(part or ()) for name, part in encoded.items()},
        {name: rows[name].collate for name in models},
        task=plan.task.evaluation,
        resamples=RESAMPLES,
        speed_plan=None,
    )
    for said in teacher_warnings(reports):
        logger.warning("before the student is trained: %s", said)
