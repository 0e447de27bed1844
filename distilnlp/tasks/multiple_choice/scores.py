"""Multiple choice: a question is an item, its classes are its choices, of which each may have another number."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.labels import marked_ids
from distilnlp.metrics import EvaluationTask, Scorer, agreement, mean_kl, predict_rows, weighted_scorer
from distilnlp.metrics.intervals import weighted_means
from distilnlp.metrics.labels import check_label_ids, keep_order, label_values
from distilnlp.metrics.prediction import Collator, Rows, check_finite, split_rows
from distilnlp.metrics.task import trainer_logits
from distilnlp.signals import Batch
from distilnlp.signals.names import NO_LABEL
from distilnlp.tasks.single_label.scores import always_most_frequent, classification_calibration


def read_choice_ids(examples: Rows, _config: PreTrainedConfig) -> NDArray:
    """Return the index of the right choice of each row `[items]`, -100 where it is null or absent.

    Raises:
        DistillationError: no row has a label, or a label is not one of its row's choices.
    """
    labels = np.asarray(marked_ids(label_values(examples)))
    counts = np.array([len(row["input_ids"]) for row in examples])
    check_label_ids(labels, int(counts.max()))
    outside = np.flatnonzero(labels >= counts)
    if len(outside):
        index = outside[0]
        raise DistillationError(
            f"expected a row's label to be one of its choices, but row {index} has {counts[index]} choices and the "
            f"label {labels[index]}. Number the choices of each row from 0."
        )
    return labels


def predict_choices(
    model: PreTrainedModel, examples: Rows, collator: Collator, batch_size: int = 32, owner: str = "the model"
) -> NDArray[np.float32]:
    """Return a model's logits `[items, choices]`, −inf for choices that a row does not have.

    Raises:
        DistillationError: there are no rows, or a logit is NaN or infinite.
    """
    rows = predict_rows(model, examples, collator, _read_choices, batch_size=batch_size, owner=owner)
    logits = np.full((len(rows), max(map(len, rows))), -np.inf, dtype=np.float32)
    for index, row in enumerate(rows):
        logits[index, : len(row)] = row
    return logits


def _read_choices(outputs: Any, batch: Batch) -> list[NDArray]:
    mask = batch.get("choice_mask", torch.ones_like(outputs.logits)).bool()
    return split_rows(outputs.logits[mask], mask)


def choice_scorer(logits: NDArray, labels: NDArray) -> Scorer:
    """Return the scorer of the accuracy of logits `[items, choices]`, on the rows whose label is not -100."""
    labelled = labels != NO_LABEL
    right = logits[labelled].argmax(-1) == labels[labelled]
    return weighted_scorer(lambda weights: weighted_means(weights, {"accuracy": right}), len(right))


def compute_choice_metrics(eval_prediction: EvalPrediction) -> dict[str, float]:
    """Score logits `[rows, choices]` against the indices of the right choices `[rows]` for a Trainer.

    Returns:
        `accuracy`.

    Raises:
        DistillationError: no row has a label, a label is not one of the choices, or a logit is NaN or +inf.
    """
    logits, labels = trainer_logits(eval_prediction), np.asarray(eval_prediction.label_ids)
    check_finite(np.where(np.isneginf(logits), 0, logits), "the model under evaluation")  # −inf: no such choice
    check_label_ids(labels, logits.shape[-1])
    return choice_scorer(logits, labels).values()


CHOICE_EVALUATION = EvaluationTask(
    read_labels=read_choice_ids,
    predict=predict_choices,
    align=keep_order,
    scores=choice_scorer,
    fidelity={"agreement": agreement, "kl": mean_kl},
    calibration_error=classification_calibration,
    constant=always_most_frequent,
    constant_name="the same choice for every question",
    compute_metrics=lambda config: compute_choice_metrics,
    training_metrics=lambda config: ("accuracy",),
)
