"""Calibration: does a model that is 80% sure turn out right in 80% of the cases?"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import DistillationError


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy, over bins of equal width, weighted by the rows in each.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599: the confidence of a row is its
    highest probability; bin m holds the confidences in ((m-1)/bins, m/bins].

    Args:
        probabilities: `[items, classes]`; each row sums to 1.
        labels: class ids `[items]`.
        bins: number of bins.

    Returns:
        A value from 0 (calibrated) to 1.

    Raises:
        DistillationError: there are no rows, or the rows are not probabilities.
    """
    rows, classes = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if not rows.size or rows.min() < 0 or not np.allclose(rows.sum(-1), 1, atol=1e-3):
        raise DistillationError(
            "expected rows of probabilities that sum to 1, but got "
            + (f"values from {rows.min():.3g} to {rows.max():.3g}." if rows.size else "no rows.")
            + " Pass the softmax of the logits of at least one row."
        )
    return mean_gap([(rows.max(-1), rows.argmax(-1) == classes)], bins)


def mean_gap(parts: Iterable[tuple[NDArray, NDArray]], bins: int = 15) -> float:
    """Return the calibration error of items that come in parts: confidences `[items]`, and which were right `[items]`.

    Of no item at all it is NaN.
    """
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    gaps, items = np.zeros(bins), 0
    for confidences, is_right in parts:
        bin_of_item = np.digitize(confidences, inner_edges, right=True)
        gaps += np.bincount(bin_of_item, weights=is_right - confidences, minlength=bins)
        items += len(confidences)
    return float(np.abs(gaps).sum() / items) if items else float("nan")
