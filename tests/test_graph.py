"""A run as a graph of steps, and what its checks find: no models here but tiny ones."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distilnlp.errors import DistillationError, NotKeptError
from distilnlp.runs import Plan, dry_run, run
from distilnlp.runs.findings import Finding, findings, raise_all, raise_first
from distilnlp.runs.graph import Step, folder_of, settled
from distilnlp.runs.rows import RunRows
from distilnlp.runs.steps import LIVE_MARK, Steps
from tests import test_runs

folder = test_runs.folder  # a teacher and data
recipe = test_runs.recipe


# ---- Steps ----


def two_steps(folder: Path, asked: list[str], rate: int = 1) -> tuple[Step, Step]:
    """A step, and one that needs it."""

    def make(name: str, needs: Step | None = None) -> Any:
        def write(work: Path) -> Path:
            asked.append(name)
            content = folder_of(needs).read_text() if isinstance(needs, Step) else ""  # type: ignore[union-attr]
            (work / "made").write_text(f"{content}{name}")
            return work / "made"

        return write

    first = Step(folder, "first", "first", "one", lambda: {"rate": rate}, make("first"))
    second = Step(folder, "second", "second", "two", lambda: {"first": first.digest}, make("second", first))
    return first, second


def test_a_step_is_made_when_it_is_asked_for_and_asks_what_it_needs(tmp_path: Path) -> None:
    asked: list[str] = []
    first, second = two_steps(tmp_path, asked)
    assert asked == []
    assert second.result.read_text() == "firstsecond"
    assert asked == ["second", "first"]
    assert second.result == folder_of(second)
    assert folder_of("a-model-of-the-hub") == "a-model-of-the-hub"
    assert (first.was_asked, first.is_up_to_date) == (True, True)


def test_a_step_that_is_up_to_date_asks_no_other(tmp_path: Path) -> None:
    asked: list[str] = []
    assert two_steps(tmp_path, asked)[1].result
    (tmp_path / "one").unlink()
    first, second = two_steps(tmp_path, asked)
    assert second.is_up_to_date
    assert second.result.read_text() == "firstsecond"
    assert not first.was_asked
    assert not (tmp_path / "one").exists()
    assert two_steps(tmp_path, asked, rate=2)[1].result  # what it needs is another one now
    assert asked == ["second", "first", "second", "first"]


def test_nothing_is_keyed_before_it_is_asked(tmp_path: Path) -> None:
    def never() -> dict[str, Any]:
        raise AssertionError("asked for its key")

    step = Step(tmp_path, "a", "a", "b", never, lambda work: work)
    assert not step.was_asked
    with pytest.raises(AssertionError, match="asked for its key"):
        _ = step.result


# ---- Parts of a plan ----


def test_a_part_that_cannot_be_settled_fails_the_same_way_without_trying_again() -> None:
    class Thing:
        tries = 0

        @settled
        def part(self) -> int:
            self.tries += 1
            raise DistillationError("never")

    thing = Thing()
    errors = []
    for _ in range(2):
        with pytest.raises(DistillationError) as caught:
            _ = thing.part
        errors.append(caught.value)
    assert thing.tries == 1
    assert errors[0] is errors[1]


# ---- Findings ----


def first_check(_: str) -> None:
    raise DistillationError("data.x must be 1, but it is 2. Set it.")


def same_check(_: str) -> None:
    first_check(_)


def warning(_: str) -> Iterator[Finding]:
    yield Finding("warning", "data", "it is small")


def last_check(checked: str) -> None:
    raise DistillationError(f"{checked} is wrong. Mend it.")


def test_findings_say_what_and_the_fix_each_once() -> None:
    found = list(findings([first_check, same_check, warning, last_check], "seed"))
    assert [(one.level, one.where, one.what, one.fix) for one in found] == [
        ("error", "first_check", "data.x must be 1, but it is 2", "Set it."),
        ("warning", "data", "it is small", ""),
        ("error", "last_check", "seed is wrong", "Mend it."),
    ]


def test_a_run_raises_the_first_error_and_checks_no_further() -> None:
    def never(_: str) -> None:
        raise AssertionError("was checked")

    with pytest.raises(DistillationError, match=r"^data\.x must be 1"):
        raise_first(findings([first_check, never], "seed"))


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(DistillationError, match=r"2 things do not fit:\n1\. data\.x .*\n2\. seed is wrong"):
        raise_all(findings([first_check, last_check], "seed"))
    with pytest.raises(DistillationError, match=r"^seed is wrong\. Mend it\.$"):
        raise_all(findings([last_check], "seed"))


def test_warnings_are_logged_and_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    raise_all(findings([warning], "seed"))
    raise_first(findings([warning], "seed"))
    assert caplog.messages == ["it is small", "it is small"]


def test_a_dry_run_lists_every_error(folder: Path) -> None:
    (folder / "teacher" / "model.safetensors").write_bytes(b"cut off")
    wrong = {"training.label_smoothing_factor": 0.1, "data.text_columns": "txt"}
    with pytest.raises(DistillationError) as caught:
        dry_run(recipe(folder, **wrong))
    for told in ("3 things do not fit", "label_smoothing_factor must stay", "SafetensorError", "Did you mean 'text'"):
        assert told in str(caught.value)
    with pytest.raises(DistillationError, match=r"^label_smoothing_factor must stay"):
        run(recipe(folder, **wrong))
    test_runs.save_model(folder / "teacher", test_runs.tiny_model())
    with pytest.raises(DistillationError) as caught:
        dry_run(recipe(folder, **{"training.metric_for_best_model": "f1", "data.max_length": 64}))
    for told in ("2 things do not fit", "metric_for_best_model must be one of", "data.max_length must be at most 40"):
        assert told in str(caught.value)
    assert not (folder / "out").exists()


# ---- What a run asks for ----


def plan_of(folder: Path, **options: Any) -> Plan:
    return Plan(recipe(folder, **{"training.num_train_epochs": 2, **options}))


def test_a_finished_run_tokenises_and_loads_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = recipe(folder, **{"training.num_train_epochs": 2})
    run(wanted)
    shutil.rmtree(folder / "out" / "cache")
    monkeypatch.setattr(RunRows, "_encode", lambda *_: pytest.fail("tokenised"))
    monkeypatch.setattr("distilnlp.runs.steps.load_labelled", lambda *_, **__: pytest.fail("loaded"))
    monkeypatch.setattr("distilnlp.runs.checks.load_finished", lambda *_: pytest.fail("loaded"))
    assert run(wanted)["models"].keys() == {"teacher", "student"}
    assert not (folder / "out" / "cache").exists()


def test_whether_answers_are_kept_is_part_of_the_students_key(folder: Path) -> None:
    def key(**options: Any) -> Any:
        return Steps(plan_of(folder, **options)).student.key()["answers"]

    assert key() == "kept"
    assert key(**{"training.num_train_epochs": 1}) == "live"
    assert key(**{"training.teacher_cache": "off"}) == "live"
    assert key(**{"training.losses": [{"name": "attention_kl"}]}) == "live"


def test_answers_that_could_not_be_kept_stay_so(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise NotKeptError("there is no room.")

    options = {"training.num_train_epochs": 2}
    with monkeypatch.context() as patch:
        patch.setattr("distilnlp.runs.steps.keep_answers", full)
        run(recipe(folder, **options))
    assert "runs beside the student, for there is no room" in caplog.text
    assert (folder / "out" / "cache" / LIVE_MARK).read_text() == "there is no room.\n"
    shutil.rmtree(folder / "out" / "student")
    monkeypatch.setattr("distilnlp.runs.steps.CachedTeacher", lambda *_, **__: pytest.fail("switched to kept answers"))
    run(recipe(folder, **options))
    assert (folder / "out" / "student" / "model.safetensors").is_file()
    with pytest.raises(NotKeptError, match=r"no room\. Delete .*cache to try again"):
        Steps(plan_of(folder, **options)).kept_answers()
