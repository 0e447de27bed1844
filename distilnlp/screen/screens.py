"""The screens: each shows the same things, a line that is said, work that goes on, results, in its own way."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from distilnlp.screen.bar import Bar, as_time

SHARE, PAUSE = 0.1, 30.0  # plain lines of progress: after this share of the work, and these seconds, at the most
BRIEF = 2.0  # seconds: of what takes no longer nothing is said


def marked(text: str, level: str) -> str:
    """Return what is said, with its level before it where that is a warning or an error."""
    return f"{level}: {text}" if level in ("warning", "error") else text


class Screen:
    """Shows nothing; the base of those that do."""

    def say(self, text: str, level: str = "info") -> None:
        """Show what is said: of the level `debug`, `info`, `warning` or `error`."""

    def opened(self, bar: Bar) -> None:
        """Show that work begins."""

    def moved(self, bar: Bar) -> None:
        """Show that work has gone on."""

    def closed(self, bar: Bar) -> None:
        """Show that work has ended, or was broken off."""

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Take how long each step of the whole run is likely to take, by its title, in their order."""

    def event(self, kind: str, **content: Any) -> None:
        """Take what programs read and people see elsewhere: the results, for one."""

    def close(self) -> None:
        """Give the terminal back."""


class Bars(Screen):
    """The bars of tqdm, as a notebook or a script of the user's knows them; lines go where `logging` sends them."""

    def opened(self, bar: Bar) -> None:
        """Open a bar."""
        from tqdm.auto import tqdm

        bar.widget = tqdm(total=bar.total, desc=bar.title, unit=f" {bar.unit}", leave=False, delay=BRIEF)

    def moved(self, bar: Bar) -> None:
        """Move the bar."""
        bar.widget.total, bar.widget.unit = bar.total, f" {bar.unit}"  # a training tells them when it has begun
        bar.widget.set_postfix(bar.figures, refresh=False)
        bar.widget.update(bar.done - bar.widget.n)

    def closed(self, bar: Bar) -> None:
        """Take the bar away."""
        bar.widget.close()


class Notebook(Bars):
    """A cell of a notebook: bars as widgets, and lines between them."""

    def say(self, text: str, level: str = "info") -> None:
        """Write a line; on standard output, because notebooks show the other in red."""
        print(marked(text, level))

    def closed(self, bar: Bar) -> None:
        """Take the bar away; of a step say how long it took."""
        super().closed(bar)
        if bar.is_step and bar.is_done:
            self.say(f"{bar.title}: done in {as_time(bar.seconds)}")


class Plain(Screen):
    """Lines with the time of day, for a file, a pipe or continuous integration."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._told: dict[int, tuple[float, float]] = {}  # by bar: the share and the moment of its last line

    def say(self, text: str, level: str = "info") -> None:
        """Write a line, after the time."""
        print(f"{time.strftime('%H:%M:%S')} {marked(text, level)}", file=self._stream or sys.stderr, flush=True)

    def opened(self, bar: Bar) -> None:
        """Begin to count the time."""
        self._told[id(bar)] = (0.0, bar.start)

    def moved(self, bar: Bar) -> None:
        """Write a line now and then."""
        share, moment = self._told[id(bar)]
        is_due = bar.share >= share + SHARE or bar.now - moment >= PAUSE
        if is_due and bar.seconds >= BRIEF and bar.now - moment >= BRIEF:
            self._told[id(bar)] = (bar.share, bar.now)
            self.say(f"{bar.title}: {bar.told()}")

    def closed(self, bar: Bar) -> None:
        """Say how long a step took."""
        del self._told[id(bar)]
        if bar.is_step:
            self.say(f"{bar.title}: {'done in' if bar.is_done else 'broken off after'} {as_time(bar.seconds)}")


class Quiet(Screen):
    """Warnings and errors alone."""

    def say(self, text: str, level: str = "info") -> None:
        """Write a warning or an error."""
        if level in ("warning", "error"):
            print(f"{level}: {text}", file=sys.stderr, flush=True)


class JsonLines(Screen):
    """Every event as a line of JSON on standard output, for other programs: `{"event": …, "time": …, …}`."""

    def say(self, text: str, level: str = "info") -> None:
        """Write what is said."""
        self.event("message", level=level, text=text)

    def opened(self, bar: Bar) -> None:
        """Write that work begins."""
        self.event("begin", title=bar.title, step=bar.is_step, total=bar.total, unit=bar.unit)

    def moved(self, bar: Bar) -> None:
        """Write how far it is, at most once a second."""
        if bar.now - getattr(bar, "_told", bar.start) >= 1:
            bar._told = bar.now  # type: ignore[attr-defined]
            self.event("progress", title=bar.title, done=bar.done, total=bar.total, figures=bar.figures)

    def closed(self, bar: Bar) -> None:
        """Write that work has ended."""
        self.event("end", title=bar.title, step=bar.is_step, seconds=round(bar.seconds, 3), done=bar.is_done)

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Write how long each step is likely to take."""
        self.event("expected", seconds={title: round(each, 1) for title, each in seconds.items()})

    def event(self, kind: str, **content: Any) -> None:
        """Write an event."""
        print(json.dumps({"event": kind, "time": round(time.time(), 3), **content}, default=str), flush=True)
