"""Every bad input of the tables meets what it must: a refusal, a warning, or rows that are read right.

None may give a traceback, hang, ask for an answer, write where it refuses, or say more than a person reads.
"""

import io
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from distilnlp.cli import commands as cli
from tests.bad_inputs import (
    arguments,
    calls,
    files,
    flags,
    forms,
    keys,
    labels,
    losses,
    models,
    outputs,
    paths,
    recipes,
    students,
    tasks,
    teachers,
)
from tests.bad_inputs.case import DONE, MODEL, PLAN, REFUSED, Case
from tests.bad_inputs.known_failing import KNOWN_FAILING

OF_DATA = (files, forms, paths, labels, tasks)
TABLES = (recipes, keys, flags, arguments, *OF_DATA, models, students, losses, teachers, outputs)
CASES = [case for module in TABLES for case in module.CASES]
MOST_SAID = 4000  # characters
LONGEST = 60  # seconds: a hang, and not a slow machine


def named(entries: Any) -> list[Any]:
    """The entries as parameters, those that fail today marked so that mending one is noticed."""

    def marks(name: str) -> list[Any]:
        reason = KNOWN_FAILING.get(name, "")
        ends = reason.startswith("dead process")  # and with it the tests
        return [pytest.mark.xfail(reason=reason, strict=True, run=not ends)] if reason else []

    return [pytest.param(entry, id=entry.name, marks=marks(entry.name)) for entry in entries]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> models.Models:
    return models.Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Undo what transformers keeps for the whole process once it was asked for DeepSpeed."""
    yield
    unset_hf_deepspeed_config()


@pytest.mark.parametrize("case", named(CASES))
def test_a_bad_input(
    case: Case, saved: models.Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: Any
) -> None:
    case.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = [MODEL.sub(lambda found: str(saved[found[1]]), word) for word in case.command()]
    if "recipe.yaml" in case.files and (tmp_path / "recipe.yaml").is_file():
        fill_in(tmp_path / "recipe.yaml", saved)
    before = contents(tmp_path)
    with no_longer_than(LONGEST), no_answers(monkeypatch), caplog.at_level("WARNING"):
        status = run(words)
    out, said = capsys.readouterr()
    said = "\n".join([*(record.getMessage() for record in caplog.records), said])
    said = said.replace(str(tmp_path), "HERE")  # its name is that of the case
    assert "Traceback" not in said
    assert len(said) < MOST_SAID
    assert not [line for line in said.splitlines() if line.endswith("..") and not line.endswith("...")]
    rows = case.rows
    if status == DONE and case.or_read is not None:
        rows = case.or_read
    else:
        assert status == case.status, said
        assert matches(case.message, said), said
    assert contents(tmp_path) == before, "a dry run writes nothing"
    if status == REFUSED:
        assert "Nothing was trained" not in out
    if rows is not None:
        assert sum(int(count.replace(",", "")) for count in PLAN.findall(out)) == rows, out
    assert matches(case.plan, out), out


@pytest.mark.parametrize("call", named(calls.CALLS))
def test_a_bad_call(call: calls.Call, saved: models.Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with no_longer_than(LONGEST), pytest.raises(call.error) as caught:
        call.make(saved)
    assert matches(call.message, str(caught.value)), caught.value
    assert len(str(caught.value)) < MOST_SAID
    assert not str(caught.value).endswith("..")


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    names = Counter(entry.name for entry in [*CASES, *calls.CALLS])
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) >= 300
    assert set(KNOWN_FAILING) <= set(names)


def matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.DOTALL | re.IGNORECASE) is not None


def run(words: list[str]) -> int:
    try:
        return cli.main(words)
    except SystemExit as leaving:  # argparse
        return leaving.code if isinstance(leaving.code, int) else 1


def fill_in(recipe: Path, saved: models.Models) -> None:
    """Put the folders of models in their places in a recipe, if it is text."""
    try:
        text = recipe.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    recipe.write_text(MODEL.sub(lambda found: str(saved[found[1]]), text), encoding="utf-8", newline="")


def contents(folder: Path) -> dict[str, int]:
    """What lies in a folder, links unfollowed, and when it was last written."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


@contextmanager
def no_answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing be read from the terminal."""
    stdin = io.StringIO()
    stdin.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        yield


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        pytest.fail(f"took more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
