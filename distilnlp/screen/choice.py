"""Which screen is in use, decided once: by what the user asked for, and where the output goes."""

import logging
import os
import sys
from typing import Literal, get_args

from distilnlp.screen.screens import Bars, JsonLines, Notebook, Plain, Quiet, Screen

Mode = Literal["auto", "quiet", "verbose", "json"]
MODES: tuple[str, ...] = get_args(Mode)
OTHERS = ("httpx", "httpx2", "absl", "datasets")  # whose lines help nobody

_screen: Screen = Bars()


def current() -> Screen:
    """Return the screen in use."""
    return _screen


def use(mode: Mode = "auto") -> Screen:
    """Choose the screen, for the rest of the process: what the package says through `logging` goes there too.

    Args:
        mode: `auto` = live on a terminal, else plain lines; `verbose` adds what all libraries say; `quiet` shows
            warnings alone; `json` writes events for other programs. Under a launcher only the first process speaks.
    """
    global _screen
    _screen.close()
    _screen = _chosen(mode)
    package, everybody = logging.getLogger("distilnlp"), logging.getLogger()
    for logger in (package, everybody):
        for handler in [one for one in logger.handlers if isinstance(one, _ToScreen)]:
            logger.removeHandler(handler)
    (everybody if mode == "verbose" else package).addHandler(_ToScreen())
    package.propagate = mode == "verbose" or "pytest" in sys.modules  # whose fixtures listen at the root
    package.setLevel(logging.DEBUG if mode == "verbose" else logging.INFO)
    if mode == "verbose":
        everybody.setLevel(logging.INFO)
    for name in OTHERS:
        logging.getLogger(name).setLevel(logging.INFO if mode == "verbose" else logging.CRITICAL)
    return _screen


def hush_libraries(mode: Mode) -> None:
    """Keep transformers from announcing a new head as a fault, and it and datasets from bars for what is brief.

    Args:
        mode: of the screen; `verbose` leaves all but the bars.
    """
    import datasets
    import transformers

    datasets.disable_progress_bars()
    if mode != "verbose":
        transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _chosen(mode: Mode) -> Screen:
    if os.environ.get("RANK", "0") != "0":
        return Screen()
    if mode == "quiet":
        return Quiet()
    if mode == "json":
        return JsonLines()
    if "ipykernel" in sys.modules:  # a notebook
        return Notebook()
    if not is_interactive():
        return Plain()
    from distilnlp.screen.live import Live

    return Live()


def is_interactive() -> bool:
    """Whether a person looks at a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")


class _ToScreen(logging.Handler):
    """Hands what is logged to the screen in use."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        try:
            _screen.say(record.getMessage(), record.levelname.lower())
        except Exception:  # a line must not end a run
            self.handleError(record)
