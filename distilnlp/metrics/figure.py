"""What a figure is called and how it is read. Each is defined once, beside the metric that gives it."""

from dataclasses import dataclass

import numpy as np

from distilnlp.metrics.intervals import Interval

UNDEFINED = "n/a"


@dataclass(frozen=True)
class Figure:
    """A figure of a report, and how it is written in sentences."""

    name: str  # in reports
    title: str  # in tables and sentences
    why_undefined: str = "it is not finite"
    is_share: bool = True  # it goes from 0 to 1, and sentences give it in percent
    higher_is_better: bool = True

    def value(self, value: float) -> str:
        """Write a value: a share in percent, others with two decimals or three digits."""
        if np.isnan(value):
            return UNDEFINED
        return f"{value:.1%}" if self.is_share else self._plain(value)

    def span(self, interval: Interval) -> str:
        """Write an interval."""
        return f"{self.value(interval.low)} to {self.value(interval.high)}"

    def width(self, width: float) -> str:
        """Write the size of a difference."""
        return f"{100 * width:.1f} points" if self.is_share else self._plain(width)

    def difference(self, difference: Interval) -> str:
        """Write a difference with its sign and interval."""
        if np.isnan(difference.low):
            return "their difference is undefined"
        value, low, high = map(self._signed, (difference.value, difference.low, difference.high))
        return f"{value}{' points' if self.is_share else ''}, 95% interval {low} to {high}"

    def _plain(self, value: float) -> str:
        return f"{value:.2f}" if self.higher_is_better else amount(value)

    def _signed(self, difference: float) -> str:
        written = f"{100 * difference:+.1f}" if self.is_share else f"{difference:+.2f}"
        return written.replace("-", "−") if float(written) else written.lstrip("+-")


ACCURACY = Figure("accuracy", "accuracy")


def amount(value: float) -> str:
    """Write an amount with three digits, and never with fewer than its whole part."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"
