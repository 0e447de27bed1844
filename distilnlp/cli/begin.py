"""The first line of a command, and the libraries that it takes."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

from distilnlp.errors import redacted, shortened
from distilnlp.screen import Mode, current, hush_libraries, use


def begin(doing: str, mode: Mode) -> None:
    """Say at once what is being done, and load the libraries, which takes seconds.

    Args:
        doing: what is done.
        mode: which screen shows it.
    """
    use(mode).say(f"{shortened(redacted(doing), 200)} (loading the libraries)")
    if "transformers" not in sys.modules:
        gc.disable()  # what modules make stays: to search it for garbage takes a seventh of the time
        with at_signals(_leave, signal.SIGINT, signal.SIGTERM):
            import_module("distilnlp.runs")
        gc.freeze()
        gc.enable()
    hush_libraries(mode)


def _leave(number: int, *_: object) -> None:
    """End the process at once: an import that is cut off by an interrupt can end in any error, or go on."""
    current().close()
    word = "interrupted" if number == signal.SIGINT else "terminated"
    print(f"distilnlp: {word}. Give the same command again.", file=sys.stderr, flush=True)
    os._exit(128 + number)


@contextmanager
def at_signals(handler: Callable[..., None], *numbers: signal.Signals) -> Iterator[None]:
    """Handle signals so while the block lasts; off the main thread, which alone may, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
