"""Stages: reused while what went in and what came out are the same, else made again; no models here."""

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distilnlp.runs.stages import Stage
from tests.test_cache import flip_a_byte


def stage(folder: Path, **options: Any) -> Stage:
    return Stage(folder, "student", "student", {"rate": 1}, **options)


def make(work: Path) -> Path:
    made = work / "finished"
    (made / "inner").mkdir(parents=True)
    (made / "model").write_text("weights")
    (made / "inner" / "config").write_text("shape")
    return made


def refuse(work: Path) -> Path:
    raise AssertionError("made again")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    stage(tmp_path).run(make)
    return tmp_path


def test_what_is_whole_is_reused_whatever_was_added(finished: Path) -> None:
    (finished / "student" / "README.md").write_text("mine")
    (finished / "work" / "student").mkdir()  # by a kill between the last two steps
    stage(finished).run(refuse)
    assert (finished / "student" / "README.md").read_text() == "mine"
    assert not (finished / "work" / "student").exists()


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "flipped": (lambda out: flip_a_byte(out / "student/model"), "model is damaged"),
    "emptied": (lambda out: (out / "student/inner/config").write_text(""), "config is damaged"),
    "deleted": (lambda out: (out / "student/model").unlink(), "model is missing"),
    "all of it": (lambda out: shutil.rmtree(out / "student"), "student is missing"),
    "record flipped": (lambda out: flip_a_byte(out / "work/student.json", 20), "its record .* is damaged"),
    "record emptied": (lambda out: (out / "work/student.json").write_text(""), "its record .* is damaged"),
    "record deleted": (lambda out: (out / "work/student.json").unlink(), "student: starts"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_named_and_made_again(finished: Path, damage: str, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, logger="distilnlp")
    spoil, told = DAMAGES[damage]
    spoil(finished)
    stage(finished).run(make)
    assert caplog.records[0].getMessage().startswith("student: ")
    assert [record for record in caplog.records if re.search(told, record.getMessage())]
    assert (finished / "student" / "model").read_text() == "weights"
    assert (finished / "student" / "inner" / "config").read_text() == "shape"
    stage(finished).run(refuse)


def test_many_damaged_files_make_one_short_line(finished: Path, caplog: Any) -> None:
    def many(work: Path) -> Path:
        for number in range(30):
            (work / "finished").mkdir(exist_ok=True)
            (work / "finished" / str(number)).write_text("x")
        return work / "finished"

    other = Stage(finished, "many", "many", {})
    other.run(many)
    for path in (finished / "many").iterdir():
        path.write_text("y")
    other.run(many)
    assert caplog.records[-1].getMessage().endswith("and 25 more")


def test_what_has_checksums_of_its_own_is_mended(tmp_path: Path) -> None:
    def mend(work: Path) -> Path:
        made = work / "student"
        made.mkdir(exist_ok=True)
        (made / "mended").write_text(str(sorted(path.name for path in made.iterdir())))
        return made

    damaged: list[str] = []
    own = stage(tmp_path, find_damage=lambda folder: damaged)
    assert own.run(mend).joinpath("mended").read_text() == "[]"
    own.run(refuse)
    (tmp_path / "student" / "whole").write_text("kept")
    damaged.append("shard")
    assert own.run(mend).joinpath("mended").read_text() == "['mended', 'whole']"


def test_what_was_made_is_told_by_its_content(finished: Path) -> None:
    first = stage(finished).content
    shutil.rmtree(finished)
    finished.mkdir()
    stage(finished).run(make)
    assert stage(finished).content == first

    def other(work: Path) -> Path:
        made = make(work)
        (made / "model").write_text("others")
        return made

    shutil.rmtree(finished / "student")
    stage(finished).run(other)
    assert stage(finished).content != first
