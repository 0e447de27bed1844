"""Runs whose files were damaged or whose disk was full: the same command ends as if nothing had been, or says why."""

import errno
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import DatasetDict
from safetensors.torch import load_file

from distilnlp.cli.commands import main
from distilnlp.errors import DistillationError
from distilnlp.files import read_record
from distilnlp.recipe.sections import Recipe
from distilnlp.runs import run
from distilnlp.runs.stages import Stage
from distilnlp.training.trainer import DistillationTrainer
from tests import test_runs
from tests.test_cache import flip_a_byte
from tests.test_checkpoints import flip_in_the_middle
from tests.tiny import tiny_model, tiny_rows


def recipe(folder: Path, **overrides: Any) -> Recipe:
    options = {
        "training.num_train_epochs": 2,
        "training.save_steps": 1,
        "teacher.finetune": {"max_steps": 2, "bf16": False, "disable_tqdm": True},
        "evaluation.bootstrap_resamples": 100,
    }
    return test_runs.recipe(folder, **{**options, **overrides})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder without dropout, data, and a finished run in `out`."""
    folder = tmp_path_factory.mktemp("finished")
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    test_runs.save_model(folder / "teacher", tiny_model(num_hidden_layers=2, **no_dropout))
    DatasetDict(train=tiny_rows(24, unlabelled=8), test=tiny_rows(12, seed=1)).save_to_disk(str(folder / "data"))
    run(recipe(folder))
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished / "out", tmp_path / "out")
    return tmp_path / "out"


def made(out: Path) -> dict[str, bytes]:
    """The weights and answers that a run makes."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.safetensors")}


def test_what_is_damaged_in_a_finished_run_is_named_and_made_again(finished: Path, copied: Path, caplog: Any) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    damages: dict[str, Callable[[Path], Any]] = {
        "teacher/model.safetensors": flip_a_byte,
        "work/initial_student/model.safetensors": flip_a_byte,
        "student/tokenizer.json": lambda path: path.write_bytes(path.read_bytes()[:-9]),
        "cache/shard-00000.safetensors": flip_a_byte,
        "results.json": Path.unlink,
    }
    for name, damage in damages.items():
        damage(copied / name)
    run(recipe(finished, output=str(copied)))
    assert made(copied) == made(finished / "out")
    for name in ("teacher/model.safetensors is", "student/model.safetensors is", "tokenizer.json is", "shard-00000"):
        assert name in caplog.text
    assert (copied / "results.json").is_file()
    caplog.clear()
    run(recipe(finished, output=str(copied)))
    assert caplog.text.count(": reused,") == 8


def test_a_card_that_was_edited_stays_and_one_that_is_gone_is_written(
    finished: Path, copied: Path, caplog: Any
) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    card = copied / "student" / "README.md"
    written = card.read_text()
    for kept in ("# Mine\n", None):
        card.write_text(kept) if kept else card.unlink()
        run(recipe(finished, output=str(copied)))
        assert card.read_text() == (kept or written)
    assert caplog.text.count("made again") == 1
    assert "card: made again, for" in caplog.text


# ---- Killed ----


class Killed(BaseException):
    """Stands for a kill: no `except Exception` sees it."""


@pytest.fixture
def killed(finished: Path, copied: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was killed in the last of the student's four steps: the first three have checkpoints."""
    shutil.rmtree(copied / "student")
    (copied / "work" / "student.json").unlink()
    steps = iter(range(1, sys.maxsize))
    original = DistillationTrainer.training_step

    def step(*args: Any, **kwargs: Any) -> Any:
        if next(steps) == 4:
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "training_step", step)
        with pytest.raises(Killed):
            run(recipe(finished, output=str(copied)))
    found = sorted(path.name for path in (copied / "work" / "student").glob("checkpoint-*"))
    assert found == ["checkpoint-2", "checkpoint-3"]  # a predecessor, if the last is damaged
    return copied


@pytest.mark.parametrize(
    "damage",
    [
        lambda last: (last / "scheduler.pt").unlink(),
        lambda last: (last / "rng_state.pth").unlink(),
        lambda last: flip_in_the_middle(last / "optimizer.pt"),
        lambda last: (last / "model.safetensors").write_bytes(b""),
    ],
    ids=["no scheduler", "no random state", "optimizer flipped", "weights emptied"],
)
def test_a_killed_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    finished: Path, killed: Path, caplog: Any, damage: Callable[[Path], Any]
) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    damage(killed / "work" / "student" / "checkpoint-3")
    run(recipe(finished, output=str(killed)))
    assert "checkpoint-3 is passed over" in caplog.text
    ours, theirs = (load_file(out / "student" / "model.safetensors") for out in (killed, finished / "out"))
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-6)


def test_checkpoints_without_optimizer_are_not_resumed_from(
    finished: Path, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights_only = recipe(finished, output=str(tmp_path / "out"), **{"training.save_only_model": True})

    def cut_off(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "save_model", _once_named_finished(cut_off))
        with pytest.raises(Killed):
            run(weights_only)
    caplog.set_level("INFO", logger="distilnlp")
    run(weights_only)
    assert re.search(r"checkpoint-\d is passed over: it has no optimizer", caplog.text)
    ours, theirs = (load_file(out / "student" / "model.safetensors") for out in (tmp_path / "out", finished / "out"))
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())


def _once_named_finished(stop: Callable[..., None]) -> Callable[..., None]:
    original = DistillationTrainer.save_model

    def save(self: Any, folder: Any = None, **kwargs: Any) -> None:
        is_student = str(folder).endswith("student/finished")
        (stop if is_student else original)(self, folder, **kwargs)

    return save


# ---- Full disks ----


def test_a_full_disk_is_a_message_and_the_same_command_goes_on(
    finished: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    shutil.rmtree(copied / "student")
    words = test_runs.flags(recipe(finished, output=str(copied)))
    with monkeypatch.context() as patch:
        original = torch.save

        def full(content: Any, path: Any, *args: Any, **kwargs: Any) -> None:
            original(content, "/dev/full" if str(path).endswith("optimizer.pt") else path, *args, **kwargs)

        patch.setattr(torch, "save", full)
        assert main(["distill", *words]) == 1
    told = capsys.readouterr().err
    assert f"distilnlp: {copied} cannot be written any more, make room there" in told
    assert "run the same command again" in told
    assert main(["distill", *words]) == 0
    assert made(copied) == made(finished / "out")


def test_a_record_that_could_not_be_written_is_no_obstacle(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a kill left half of the recipe behind."""
    out = tmp_path / "out"

    def full(*args: Any, **status: Any) -> None:
        (out / "recipe.yaml").rename(out / "recipe.yaml.partial")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Stage, "_write_record", full)
        with pytest.raises(OSError, match="make room there"):
            run(recipe(finished, output=str(out)))
    run(recipe(finished, output=str(out)))
    assert not list(out.rglob("*.partial"))
    assert read_record(out / "work" / "student.json")
    assert made(out) == made(finished / "out")


def test_a_cache_that_a_full_disk_cut_off_does_not_become_another_student(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("distilnlp.answers.writing.write_shard", full)
        with pytest.raises(OSError, match="0 of 1 shards of the cache are finished and stay usable"):
            run(recipe(finished, output=str(tmp_path / "out")))
    assert not (tmp_path / "out" / "student").exists()


def test_only_a_full_disk_is_told_as_one(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **status: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Stage, "_write_record", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(recipe(finished, output=str(tmp_path / "out")))
    with pytest.raises(DistillationError, match="Did you mean 'text'"):
        run(recipe(finished, output=str(tmp_path / "other"), **{"data.text_columns": "txt"}))
