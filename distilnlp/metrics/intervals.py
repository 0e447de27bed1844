"""Confidence intervals: how far a metric could move if the evaluation rows had been drawn again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distilnlp.metrics.chunks import CELLS_AT_ONCE

Scores = Callable[..., Mapping[str, NDArray]]


@dataclass(frozen=True)
class Interval:
    """A metric with the 95% interval of its bootstrap; NaN where it is undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """A figure on the units as they are and on every draw of them; NaN where it is undefined.

    Figures of one evaluation are of the same draws, so that their difference and ratio are paired.
    """

    value: float  # on the units as they are
    draws: NDArray  # `[draws]`

    def interval(self) -> Interval:
        """Return the percentile interval (95%) over the draws in which the figure is defined.

        Some figures rise or fall wherever rows are repeated, as mean average precision does with few rows a label.
        Where the value is outside what the draws give, they are shifted by that bias.
        """
        defined = self.draws[~np.isnan(self.draws)]
        if np.isnan(self.value) or not len(defined):
            return Interval(self.value, np.nan, np.nan)
        low, high = np.percentile(defined, [2.5, 97.5])
        if not low <= self.value <= high:
            bias = defined.mean() - self.value
            low, high = min(low - bias, self.value), max(high - bias, self.value)
        return Interval(self.value, float(low), float(high))

    def minus(self, other: "Resampled") -> "Resampled":
        """Return the difference."""
        return Resampled(self.value - other.value, self.draws - other.draws)

    def over(self, other: "Resampled") -> "Resampled":
        """Return the ratio, undefined where the other is not above zero."""
        value = self.value / other.value if other.value > 0 else np.nan
        return Resampled(value, ratio(self.draws, np.where(other.draws > 0, other.draws, 0)))


@dataclass(frozen=True)
class Scorer:
    """The metrics of one model on the units of an evaluation, and on every set that could be drawn from them.

    A unit is what is drawn as a whole, because what is in it hangs together: a text, a sentence, a question.
    """

    # Called with the columns, `[units]` or `[draws, units]`, returns each metric as `[]` or `[draws]`; NaN = undefined.
    scores: Scores
    columns: tuple[NDArray, ...]  # what `scores` reads, each `[units]`; for instance predictions and labels
    cells: int = 1  # how many numbers `scores` holds for a draw, if that can be more than there are units

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.columns[0])

    def values(self) -> dict[str, float]:
        """Return each metric on the units as they are."""
        return {name: float(value) for name, value in self.scores(*self.columns).items()}

    def resample(self, resamples: int = 1000, seed: int = 0) -> dict[str, Resampled]:
        """Return each metric with its values on sets that are drawn with replacement.

        A unit keeps its values in all columns together, and all metrics are computed on the same draws, which depend
        on the number of units and the seed alone.
        """
        generator = np.random.default_rng(seed)
        at_once = max(1, CELLS_AT_ONCE // max(self.units, self.cells))
        parts = []
        for start in range(0, resamples, at_once):
            drawn = generator.integers(0, self.units, (min(at_once, resamples - start), self.units))
            parts.append(self.scores(*(column[drawn] for column in self.columns)))
        return {
            name: Resampled(value, np.concatenate([part[name] for part in parts]))
            for name, value in self.values().items()
        }

    def intervals(self, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
        """Return each metric with its interval."""
        return {name: figure.interval() for name, figure in self.resample(resamples, seed).items()}


def weighted_scorer(scores: Scores, units: int, cells: int = 1) -> Scorer:
    """Return the scorer of metrics that are computed from how often each unit was drawn.

    A draw then costs a weighted sum of what each unit contributes (its hits, its errors) in place of the metric over
    all that the units hold. `scores` is called with weights `[..., units]`, all 1 for the units as they are, and gives
    each metric as `[...]`; for `cells` see `Scorer`.
    """
    return Scorer(lambda drawn: scores(count_ids(drawn, units)), (np.arange(units),), cells)


def bootstrap_intervals(scores: Scores, *columns: NDArray, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Percentile intervals (95%) of metrics over rows, see `Scorer`; Efron and Tibshirani 1993, chapter 13.

    The same seed gives the same intervals. That of a single row, which no draw can change, is the value itself.
    """
    return Scorer(scores, columns).intervals(resamples, seed)


def count_ids(ids: NDArray, num_ids: int) -> NDArray:
    """Count the ids of each set: `[..., rows]` to `[..., num_ids]`, in float64 so that products cannot overflow."""
    sets = ids.reshape(-1, ids.shape[-1])
    offsets = num_ids * np.arange(len(sets))[:, None]
    counts = np.bincount((sets + offsets).ravel(), minlength=num_ids * len(sets))
    return counts.reshape(*ids.shape[:-1], num_ids).astype(np.float64)


def weighted_means(weights: NDArray, columns: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return the mean of each column `[units]` under weights `[..., units]`, as `[...]`."""
    return {name: weights @ column.astype(np.float64) / weights.sum(-1) for name, column in columns.items()}


def ratio(numerator: NDArray, denominator: NDArray, undefined: float = np.nan) -> NDArray:
    """Divide; NaN, or what is given for it, where the denominator is 0."""
    nothing = denominator == 0
    return np.where(nothing, undefined, numerator / np.where(nothing, 1, denominator))
