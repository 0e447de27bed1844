"""Fidelity: how closely a student follows its reference, whether or not the reference is right."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from distilnlp.errors import DistillationError
from distilnlp.metrics.chunks import row_chunks
from distilnlp.metrics.figure import Figure

# What the tasks measure of it; see their `Scoring.fidelity`.
MEASURES = (
    Figure("agreement", "agreement"),
    Figure("kl", "KL (nats)", is_share=False, higher_is_better=False),
    Figure(
        "correlation", "correlation with reference", "the predictions of one of the models are constant", is_share=False
    ),
    Figure("absolute_difference", "difference from reference", is_share=False, higher_is_better=False),
)


def agreement(student_logits: ArrayLike, reference_logits: ArrayLike) -> float:
    """Share of rows of logits `[items, classes]`, in one label order, for which both models prefer the same class.

    Raises:
        DistillationError: the shapes differ, or there are no rows.
    """
    student, reference = as_pair(student_logits, reference_logits)
    return same_share(student.argmax(-1), reference.argmax(-1))


def mean_kl(student_logits: ArrayLike, reference_logits: ArrayLike) -> float:
    """Mean over the rows of KL(reference ‖ student) at temperature 1, in nats, computed in float64.

    The logits are `[items, classes]`, in one label order; −inf for a class that a row does not have.

    Raises:
        DistillationError: the shapes differ, or there are no rows.
    """
    student, reference = as_pair(student_logits, reference_logits)
    return mean_divergence(kl_of_rows(student[rows], reference[rows]) for rows in row_chunks(student))


def kl_of_rows(student_logits: NDArray, reference_logits: NDArray) -> NDArray[np.float64]:
    """Return KL(reference ‖ student) of each row `[items]`; see `mean_kl`."""
    both = (student_logits, reference_logits)
    student, reference = (log_softmax(logits.astype(np.float64), axis=-1) for logits in both)
    difference = np.zeros_like(reference)
    np.subtract(reference, student, out=difference, where=np.isfinite(reference))  # 0 · (inf − inf) is not 0
    return (np.exp(reference) * difference).sum(-1)


def mean_divergence(parts: Iterable[NDArray]) -> float:
    """Return the mean of divergences that come in parts; rounding can bring equal models a hair below zero."""
    return max(0.0, float(np.concatenate(list(parts)).mean()))


def same_share(student: ArrayLike, reference: ArrayLike) -> float:
    """Share of the answers `[items]`, class ids or texts, that are the same.

    Raises:
        DistillationError: the numbers of answers differ, or there are none.
    """
    first, second = as_pair(student, reference, ndim=1)
    return float((first == second).mean())


def as_pair(student: ArrayLike, reference: ArrayLike, ndim: int = 2) -> tuple[NDArray, NDArray]:
    """Return two models' predictions, checked to be of one shape of `ndim` axes, the items first."""
    first, second = np.asarray(student), np.asarray(reference)
    # Compared strictly: numpy would broadcast [items, 1] against [items, classes] and give a figure.
    if first.shape != second.shape or first.ndim != ndim or not len(first):
        raise DistillationError(
            f"expected predictions of student and reference of one shape {['[items]', '[items, classes]'][ndim - 1]}, "
            f"but got {first.shape} and {second.shape}. Predict the same rows, at least one, with models of the "
            "same labels."
        )
    return first, second
