"""Launching: the processes that were asked for are the ones that work."""

from pathlib import Path

import pytest

from distilnlp.errors import DistillationError
from distilnlp.training import launching

ACCELERATE = ["python", "/usr/bin/accelerate", "launch"]


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ([*ACCELERATE, "--cpu", "--num_processes", "2", "train.py"], 2),
        ([*ACCELERATE, "--num-processes=3", "train.py", "--num_processes", "9"], 3),
        (["python", "-m", "accelerate.commands.launch", "--num_processes=2", "train.py"], 2),
        (["python", "/usr/bin/accelerate-launch", "--num_processes", "2", "train.py"], 2),
        ([*ACCELERATE, "train.py"], 1),
        (["python", "train.py", "launch"], 1),
        (["bash"], 1),
        ([], 1),
    ],
)
def test_what_the_launcher_was_asked_for_is_read(command: list[str], asked: int) -> None:
    assert launching._asked_by(command) == asked


def test_a_config_file_asks_too(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("distributed_type: MULTI_CPU\nnum_processes: 4\n")
    assert launching._asked_by([*ACCELERATE, "--config_file", str(config), "train.py"]) == 4


def test_the_default_config_file_asks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "default_config.yaml"
    config.write_text("distributed_type: MULTI_CPU\nnum_processes: 2\n")
    monkeypatch.setattr(launching, "default_config_file", str(config))
    assert launching._asked_by([*ACCELERATE, "train.py"]) == 2


def test_fewer_than_asked_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "asked_processes", lambda: 2)
    with pytest.raises(DistillationError, match="2 processes were asked for, but only 1 would train together"):
        launching.check_process_count(1)
    launching.check_process_count(2)


def test_several_processes_without_accelerator_use_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    launching.use_cpu_without_accelerator()
    assert launching.os.environ["ACCELERATE_USE_CPU"] == "true"
