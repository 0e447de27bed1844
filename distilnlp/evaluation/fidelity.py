"""Fidelity: how closely a student follows its reference, whether or not the reference is right."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from distilnlp.errors import DistillationError


def agreement(student_logits: ArrayLike, reference_logits: ArrayLike) -> float:
    """Share of rows for which both models prefer the same class.

    Args:
        student_logits: `[items, classes]`.
        reference_logits: `[items, classes]`, in the same label order.

    Raises:
        DistillationError: the shapes differ, or there are no rows.
    """
    student, reference = _as_pair(student_logits, reference_logits)
    return float((student.argmax(-1) == reference.argmax(-1)).mean())


def mean_kl(student_logits: ArrayLike, reference_logits: ArrayLike) -> float:
    """Mean over the rows of KL(reference ‖ student) at temperature 1, in nats, computed in float64.

    Args:
        student_logits: `[items, classes]`.
        reference_logits: `[items, classes]`, in the same label order.

    Raises:
        DistillationError: the shapes differ, or there are no rows.
    """
    student, reference = (log_softmax(logits, axis=-1) for logits in _as_pair(student_logits, reference_logits))
    per_row = (np.exp(reference) * (reference - student)).sum(-1)
    return max(0.0, float(per_row.mean()))  # rounding can bring equal models a hair below zero


def _as_pair(student_logits: ArrayLike, reference_logits: ArrayLike) -> tuple[NDArray, NDArray]:
    student, reference = (np.asarray(logits, dtype=np.float64) for logits in (student_logits, reference_logits))
    # Compared strictly: numpy would broadcast [items, 1] against [items, classes] and give a figure.
    if student.shape != reference.shape or student.ndim != 2 or not len(student):
        raise DistillationError(
            f"expected student and reference logits of one shape [items, classes], but got {student.shape} and "
            f"{reference.shape}. Predict the same rows, at least one, with models of the same labels."
        )
    return student, reference
