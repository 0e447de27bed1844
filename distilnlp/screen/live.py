"""The screen of a terminal: lines above, and below them what goes on, one line each, with colour."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from distilnlp.screen.bar import Bar, as_time
from distilnlp.screen.screens import BRIEF, Screen, marked

STYLES = {"warning": "yellow", "error": "bold red", "debug": "dim"}
TITLE = 28  # columns


class Live(Screen):
    """Shows each piece of work as one line, and under them how far the whole run is.

    Args:
        console: of rich; None = standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._open: list[Bar] = []
        self._expected: dict[str, float] = {}
        self._finished: list[str] = []
        self._run: TaskID | None = None
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=TITLE)),
            BarColumn(bar_width=14),
            TextColumn("{task.fields[told]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=self._console,
            transient=True,
            expand=True,
            refresh_per_second=5,
        )

    def say(self, text: str, level: str = "info") -> None:
        """Print a line above the work."""
        self._console.print(Text(marked(text, level), style=STYLES.get(level, "")), soft_wrap=False)

    def opened(self, bar: Bar) -> None:
        """Add a line for the work; a brief one is not shown."""
        if not self._open:
            self._progress.start()
        self._open.append(bar)
        title = f"[bold]{escape(bar.title)}[/bold]" if bar.is_step else f"  {escape(bar.title)}"
        bar.widget = self._progress.add_task(title, total=bar.total, visible=bar.is_step, told="")
        self._put_run_last()

    def moved(self, bar: Bar) -> None:
        """Show how far the work is, and the run."""
        is_shown = bar.is_step or bar.seconds >= BRIEF
        self._progress.update(bar.widget, completed=bar.done, total=bar.total, visible=is_shown, told=_told(bar))
        self._update_run()

    def closed(self, bar: Bar) -> None:
        """Take the line away; a step that is done leaves one that says so."""
        self._open.remove(bar)
        self._progress.remove_task(bar.widget)
        if bar.is_step and bar.is_done:
            self._finished.append(bar.title)
            figures = "  ".join(f"{name} {value}" for name, value in bar.figures.items())
            line = Text.assemble(("✓ ", "green"), bar.title.ljust(TITLE - 2), f" {as_time(bar.seconds):<12}")
            self._console.print(line.append(figures, style="dim"), no_wrap=True, overflow="ellipsis")
        self._update_run()
        if not self._open:
            self._drop_run()
            self._progress.stop()

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Show how long the run is likely to take from here on."""
        self._expected, self._finished = dict(seconds), []

    def close(self) -> None:
        """Give the terminal back."""
        self._progress.stop()

    # ---- The whole run ----

    def _put_run_last(self) -> None:
        self._drop_run()
        if len(self._expected) > 1 and any(bar.is_step for bar in self._open):
            self._run = self._progress.add_task("the whole run", total=sum(self._expected.values()), told="")
            self._update_run()

    def _drop_run(self) -> None:
        if self._run is not None:
            self._progress.remove_task(self._run)
            self._run = None

    def _update_run(self) -> None:
        if self._run is None:
            return
        step = next((bar for bar in self._open if bar.is_step), None)
        done = sum(self._expected.get(title, 0.0) for title in self._finished)
        left = sum(each for title, each in self._expected.items() if title not in self._finished)
        if step is not None and step.title in self._expected:
            own = self._expected[step.title]
            done += own * step.share
            left += (step.remaining if step.remaining is not None else own) - own
        number = min(len(self._finished) + 1, len(self._expected))
        told = f"step {number} of {len(self._expected)}, about {as_time(max(left, 0.0))} left"
        self._progress.update(self._run, completed=done, told=told)


def _told(bar: Bar) -> str:
    """Return what stands beside the bar, the most important first: the end of a narrow line is cut."""
    if not bar.total:
        return as_time(bar.seconds)
    left = f"{as_time(bar.remaining)} left" if bar.remaining is not None else ""
    figures = " ".join(f"{escape(name)} {value}" for name, value in bar.figures.items())
    return "  ".join(filter(None, [f"{bar.share:4.0%}", left, figures, f"{bar.rate:.3g} {bar.unit}/s"]))
