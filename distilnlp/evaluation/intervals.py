"""Confidence intervals: how far a metric could move if the evaluation rows had been drawn again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

Scores = Callable[..., Mapping[str, NDArray]]

CELLS_AT_ONCE = 2_000_000  # resampled rows held in memory at once: 16 MB per array of ids


@dataclass(frozen=True)
class Interval:
    """A metric with the 95% interval of its bootstrap."""

    value: float
    low: float
    high: float


def bootstrap_intervals(scores: Scores, *columns: NDArray, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Percentile intervals (95%) of metrics over rows; Efron and Tibshirani 1993, chapter 13.

    Rows are drawn with replacement; a row keeps its values in all columns together, and all metrics are computed on
    the same draws.

    Args:
        scores: called with the columns, `[rows]` or `[draws, rows]`, returns each metric as `[]` or `[draws]`.
        columns: what `scores` reads, each `[rows]`; for instance predictions and labels.
        resamples: number of draws.
        seed: the same seed gives the same interval.

    Returns:
        An interval per metric. Of a single row, which no draw can change, it is the value itself.
    """
    values = {name: float(value) for name, value in scores(*columns).items()}
    rows = len(columns[0])
    if rows < 2:  # scipy refuses it
        return {name: Interval(value, value, value) for name, value in values.items()}

    def statistic(*drawn: NDArray, axis: int) -> NDArray:
        results = scores(*drawn)
        return np.stack([results[name] for name in values])

    result = bootstrap(
        columns,
        statistic,
        n_resamples=resamples,
        batch=max(1, CELLS_AT_ONCE // rows),
        vectorized=True,
        paired=True,
        method="percentile",  # BCa, scipy's default, is undefined where all draws agree, as for a perfect model
        rng=np.random.default_rng(seed),
    )
    lows, highs = result.confidence_interval
    return {
        name: Interval(value, float(low), float(high))
        for (name, value), low, high in zip(values.items(), lows, highs, strict=True)
    }
