"""What a person sees of long work: on a terminal, in a file, in a notebook, or as JSON."""

import contextlib
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from distilnlp.screen import Bar, Screen, as_time, choice, current, open_step, progress, use
from distilnlp.screen.live import Live
from distilnlp.screen.screens import Bars, JsonLines, Notebook, Plain, Quiet


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the screen, the loggers and what chooses the screen back as they were."""
    package = logging.getLogger("distilnlp")
    before, handlers, level, propagate = current(), list(package.handlers), package.level, package.propagate
    for name in ("CI", "RANK"):
        monkeypatch.delenv(name, raising=False)
    yield
    choice._screen = before
    package.handlers[:] = handlers
    package.setLevel(level)
    package.propagate = propagate


class Clock:
    """Stands for the clock, and goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def shown_by(screen: Screen) -> Screen:
    choice._screen = screen
    return screen


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert as_time(seconds) == text


def test_a_bar_tells_share_rate_and_what_is_left(clock: Clock) -> None:
    bar = Bar("student", 200, "steps")
    assert bar.remaining is None
    clock.now += 10
    bar.advance(50, figures={"loss": "0.5"})
    assert (bar.share, bar.rate, bar.remaining) == (0.25, 5.0, 30.0)
    assert bar.told() == "25%, 50 of 200 steps, 5 a second, 30 s left, loss 0.5"


def test_plain_lines_come_now_and_then(clock: Clock) -> None:
    stream = io.StringIO()
    shown_by(Plain(stream))
    with progress("student", 1000, "steps", is_step=True) as bar:
        for _ in range(1000):
            clock.now += 0.1
            bar.advance()
    lines = stream.getvalue().splitlines()
    assert 8 <= len(lines) <= 12
    assert re.fullmatch(r"\d\d:\d\d:\d\d student: 10%, 100 of 1,000 steps, 10 a second, 1 min 30 s left", lines[0])
    assert lines[-1].endswith("student: done in 1 min 40 s")


def test_what_is_brief_is_not_told_and_what_breaks_off_is(clock: Clock) -> None:
    stream = io.StringIO()
    shown_by(Plain(stream))
    with progress("reading", 10) as bar:
        clock.now += 1
        bar.advance(10)
    assert stream.getvalue() == ""
    with contextlib.suppress(ValueError), progress("student", 10, is_step=True):
        clock.now += 5
        raise ValueError("stop")
    assert stream.getvalue().rstrip().endswith("student: broken off after 5.0 s")
    assert open_step() is None


def test_json_lines_can_be_read_one_by_one(clock: Clock, capsys: Any) -> None:
    shown_by(JsonLines())
    current().expect({"student": 12.34})
    with progress("student", 2, "steps", is_step=True) as bar:
        clock.now += 2
        bar.advance(figures={"loss": "1"})
        bar.advance()
    current().say("careful", "warning")
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["expected", "begin", "progress", "end", "message"]
    assert events[0]["seconds"] == {"student": 12.3}
    assert (events[2]["done"], events[2]["total"], events[2]["figures"]) == (1, 2, {"loss": "1"})
    assert (events[3]["seconds"], events[3]["done"]) == (2, True)
    assert (events[4]["level"], events[4]["text"]) == ("warning", "careful")


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_screen_fits_the_terminal(width: int, clock: Clock) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    screen = Live(console)
    shown_by(screen)
    screen.expect({"teacher": 30.0, "student": 90.0})
    figures = {"loss": "0.1234", "hard loss": "0.56", "soft loss": "0.78", "hidden state mse": "9.1"}
    with progress("teacher", 100, "steps", is_step=True) as bar, progress("a [part] of it", 7):
        clock.now += 15
        bar.advance(50, figures=figures)
        table = console.render_lines(screen._progress.get_renderable(), console.options)
    lines = ["".join(part.text for part in line).rstrip() for line in table]
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("teacher")
    assert " 50%  15 s left  loss 0.1234" in lines[0]
    assert "the whole run" in lines[-1]
    assert "step 1 of 2, about 1 min 45 s left" in lines[-1]
    screen.say("a [line] that is said")
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "✓ teacher" in written
    assert "15 s" in written
    assert "a [line] that is said" in written


def test_a_notebook_gets_lines_and_bars(clock: Clock, capsys: Any) -> None:
    shown_by(Notebook())
    current().say("careful", "warning")
    with progress("student", 2, is_step=True) as bar:
        clock.now += 3
        bar.advance(2)
    assert capsys.readouterr().out.splitlines() == ["warning: careful", "student: done in 3.0 s"]


# ---- Which screen ----


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("mode", "environment", "is_terminal", "kind"),
    [
        ("auto", {}, True, Live),
        ("auto", {}, False, Plain),
        ("auto", {"CI": "true"}, True, Plain),
        ("auto", {"TERM": "dumb"}, True, Plain),
        ("verbose", {}, False, Plain),
        ("quiet", {}, True, Quiet),
        ("json", {}, True, JsonLines),
        ("auto", {"RANK": "1"}, True, Screen),
        ("json", {"RANK": "1"}, True, Screen),
        ("auto", {"RANK": "0"}, True, Live),
    ],
)
def test_the_screen_is_chosen_by_what_is_asked_and_where_it_goes(
    mode: Any, environment: dict[str, str], is_terminal: bool, kind: type[Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", Terminal() if is_terminal else io.StringIO())
    assert type(use(mode)) is kind


def test_in_a_notebook_bars_are_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", logging)
    assert isinstance(use("auto"), Notebook)
    assert isinstance(Notebook(), Bars)


def test_what_is_logged_goes_to_the_screen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    use("auto")
    use("auto")
    logger = logging.getLogger("distilnlp.somewhere")
    logger.info("it is %s", "so")
    logger.warning("careful")
    logger.debug("not told")
    lines = stream.getvalue().splitlines()
    assert [line[9:] for line in lines] == ["it is so", "warning: careful"]
