"""The first line of a command, and the libraries that it takes."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
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
        with _leaving_at_an_interrupt():
            import_module("distilnlp.runs")
        gc.freeze()
        gc.enable()
    hush_libraries(mode)


@contextmanager
def _leaving_at_an_interrupt() -> Iterator[None]:
    """End the process at once if it is interrupted: an import that is cut off can end in any error, or go on."""

    def leave(number: int, *_: object) -> None:
        current().close()
        word = "interrupted" if number == signal.SIGINT else "terminated"
        print(f"distilnlp: {word}. Give the same command again.", file=sys.stderr, flush=True)
        os._exit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
