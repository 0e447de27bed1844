"""Work that goes on, shown on the screen in use."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from distilnlp.screen.bar import Bar
from distilnlp.screen.choice import current

_open: list[Bar] = []  # the innermost last


@contextmanager
def progress(title: str, total: int | None = None, unit: str = "rows", is_step: bool = False) -> Iterator[Bar]:
    """Show a piece of work on the screen in use while the block lasts.

    Args:
        title: what is done.
        total: of its units; None = unknown.
        unit: what is counted.
        is_step: whether it is a step of a run.
    """
    screen = current()
    bar = Bar(title, total, unit, is_step, tell=screen.moved)
    screen.opened(bar)
    _open.append(bar)
    try:
        yield bar
        bar.is_done = True
    finally:
        _open.remove(bar)
        bar.end = time.monotonic()
        screen.closed(bar)


def open_step() -> Bar | None:
    """Return the step of a run that is going on; None where there is none."""
    return next((bar for bar in reversed(_open) if bar.is_step), None)
