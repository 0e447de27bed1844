"""What a teacher is worth, told before a student learns from it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accelerate import PartialState

from distilnlp.data import DataConfig, PreparedData, spread
from distilnlp.evaluation import measure_quality, teacher_warnings
from distilnlp.evaluation.label_order import order_that_fits
from distilnlp.runs.members import Member
from distilnlp.runs.models import label_list
from distilnlp.runs.plan import Plan
from distilnlp.runs.reading import Reader
from distilnlp.runs.rows import EncodedRows, RunRows
from distilnlp.signals import teacher_view
from distilnlp.tasks import Task
from distilnlp.training.stopping import HELD_OUT, hold_out

logger = logging.getLogger(__name__)

SAMPLE = 64  # labelled rows that a finished teacher answers before anything is trained
RESAMPLES = 500


def doubts_of_teacher(task: Task, data: PreparedData, members: Sequence[Member], config: DataConfig) -> Iterator[str]:
    """Say which models answer a sample of the labelled rows no better than chance, or in another order of labels.

    Args:
        task: of all.
        data: checked and split.
        members: finished models, with their weights.
        config: the recipe's `data` section.

    Raises:
        DistillationError: a model's logits are NaN or infinite.
    """
    if data.are_unlabelled:
        return
    rows = spread(data.labelled if len(data.labelled) else data.test, SAMPLE)
    evaluation = task.evaluation
    for member in members:
        reader = Reader(task, config, member.tokenizer, member.max_length)
        examples = list(reader.encode(teacher_view(rows), "A sample", for_evaluation=True))
        member.model.to(PartialState().device)
        labels = evaluation.read_labels(examples, member.model.config)
        answers = evaluation.predict(member.model, examples, reader.collate, 32, f"the teacher {member.source}")
        warnings = teacher_warnings(measure_quality({"teacher": answers}, labels, evaluation, resamples=RESAMPLES))
        order = order_that_fits(answers, labels, label_list(member.model, task), evaluation)
        for said in (*warnings, *([order] if order else [])):
            yield f"{member.source}, asked about {len(rows)} labelled rows: {said}"


def warn_of_teacher(plan: Plan, models: Mapping[str, Any], run_rows: RunRows) -> None:
    """Warn of a teacher at chance, or below the labels alone, on rows that no training has learned, if there are any.

    Args:
        plan: of the run.
        models: the `teacher`, if it is a model, and the `baseline` if there is one.
        run_rows: what each of them reads.
    """
    rows = {"teacher": run_rows.teacher, "baseline": run_rows.student}
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
