"""A piece of work, as the screens show it: how far it is, how fast, how long still."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Bar:
    """A piece of work.

    Attributes:
        title: what is done.
        total: of its units; None where it is not known, or there is nothing to count.
        unit: what is counted.
        is_step: whether it is a step of a run, which is told even if it is brief.
        done: how many units are.
        figures: what is told beside it, such as the running losses.
        is_done: whether it ended as it should.
        widget: what a screen shows it by.
        tell: is called when it has gone on.
    """

    title: str
    total: int | None = None
    unit: str = "rows"
    is_step: bool = False
    done: int = 0
    figures: Mapping[str, str] = field(default_factory=dict)
    is_done: bool = False
    start: float = field(default_factory=lambda: time.monotonic())
    end: float | None = None
    widget: Any = None
    tell: Callable[["Bar"], None] | None = None

    @property
    def now(self) -> float:
        """The moment of the clock by which it is measured, in seconds; of its end once it has ended."""
        return time.monotonic() if self.end is None else self.end

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return self.now - self.start

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return self.done / self.total if self.total else 0.0

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.done / max(self.seconds, 1e-9)

    @property
    def remaining(self) -> float | None:
        """Seconds that it is likely to take still; None where nothing tells, or nothing is left."""
        is_told = 0 < self.share < 1 and self.seconds > 1
        return self.seconds / self.share - self.seconds if is_told else None

    def advance(self, count: int = 1, total: int | None = None, figures: Mapping[str, str] | None = None) -> None:
        """Count further units as done."""
        self.move(self.done + count, total, figures)

    def move(self, done: int, total: int | None = None, figures: Mapping[str, str] | None = None) -> None:
        """Set how many units are done, and what is told beside it if that is given."""
        self.done, self.total = done, total or self.total
        if figures is not None:
            self.figures = figures
        if self.tell is not None:
            self.tell(self)

    def told(self) -> str:
        """Return how far it is as a line: share, units, rate, time left, figures."""
        parts = [f"{self.share:.0%}, {self.done:,} of {self.total:,} {self.unit}" if self.total else f"{self.done:,}"]
        parts.append(f"{self.rate:.3g} a second")
        if self.remaining is not None:
            parts.append(f"{as_time(self.remaining)} left")
        return ", ".join([*parts, *(f"{name} {value}" for name, value in self.figures.items())])


def as_time(seconds: float) -> str:
    """Write a duration as a person says it: `4 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
