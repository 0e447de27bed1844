"""What a finished teacher is worth: it answers some labelled rows before anything is trained."""

import logging
from collections.abc import Sequence
from typing import Any

from accelerate import PartialState

from distilnlp.data import DataConfig, PreparedData
from distilnlp.data.parts import spread
from distilnlp.evaluation import measure_quality, teacher_warnings
from distilnlp.evaluation.label_order import order_that_fits
from distilnlp.runs.members import Member
from distilnlp.runs.models import collator_of, label_list
from distilnlp.signals.views import teacher_view
from distilnlp.tasks import Task

logger = logging.getLogger(__name__)

SAMPLE = 64  # labelled rows that a finished teacher answers before anything is trained
RESAMPLES = 500


def check_finished_teacher(task: Task, data: PreparedData, members: Sequence[Member], config: DataConfig) -> None:
    """Warn of models that answer a sample of the labelled rows no better than chance, or in another order of labels.

    Args:
        task: of all.
        data: checked and split.
        members: finished models, with their weights.
        config: the recipe's `data` section.

    Raises:
        DistillationError: a model's logits are NaN or infinite.
    """
    rows = spread(data.labelled if len(data.labelled) else data.test, SAMPLE)
    evaluation = task.evaluation
    for member in members:
        collate = collator_of(task, member.tokenizer, config)
        options: dict[str, Any] = {"config": config, "for_evaluation": True}
        examples = list(
            task.rows.encode(teacher_view(rows), member.tokenizer, member.max_length, "A sample", **options)
        )
        member.model.to(PartialState().device)
        labels = evaluation.read_labels(examples, member.model.config)
        answers = evaluation.predict(member.model, examples, collate, 32, f"the teacher {member.source}")
        warnings = teacher_warnings(measure_quality({"teacher": answers}, labels, evaluation, resamples=RESAMPLES))
        order = order_that_fits(answers, labels, label_list(member.model, task), evaluation)
        for said in (*warnings, *([order] if order else [])):
            logger.warning("%s, asked about %d labelled rows: %s", member.source, len(rows), said)
