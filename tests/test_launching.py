"""Launching: the processes that were asked for are the ones that work."""

import argparse
import os
from pathlib import Path

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_simple_launcher_cmd_env

from distilnlp.errors import DistillationError
from distilnlp.training import launching

LAUNCHER = ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU")


@pytest.fixture(autouse=True)
def not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)


def launched(monkeypatch: pytest.MonkeyPatch, *words: str) -> argparse.Namespace:
    """Set what `accelerate launch` sets for the single process that it starts."""
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args([*words, "train.py"]))
    for name, value in prepare_simple_launcher_cmd_env(arguments)[1].items():
        monkeypatch.setenv(name, value)
    return arguments


@pytest.mark.parametrize("words", [["--cpu", "--num_processes", "2"], ["--cpu", "--num-processes=3"]])
def test_a_single_process_where_several_were_asked_for_is_an_error(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(monkeypatch, *words)
    with pytest.raises(DistillationError, match="several processes were asked for, but only 1 would train together"):
        launching.check_process_count(1)
    launching.check_process_count(2)  # started by MPI


def test_a_config_file_asks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nmixed_precision: 'no'\nuse_cpu: true\n"
        "num_machines: 1\nnum_processes: 4\n"
    )
    assert not launched(monkeypatch, "--config_file", str(config)).multi_gpu
    with pytest.raises(DistillationError, match="several processes were asked for"):
        launching.check_process_count(1)


@pytest.mark.parametrize("words", [["--cpu", "--num_processes", "1"], ["--cpu"]])
def test_one_process_that_was_asked_for_is_fine(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    launched(monkeypatch, *words)
    launching.check_process_count(1)


def test_a_master_address_without_accelerate_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    launching.check_process_count(1)


def test_fewer_than_were_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DistillationError, match="2 processes were asked for, but only 1 would train together"):
        launching.check_process_count(1)
    launching.check_process_count(2)


def test_several_processes_without_accelerator_use_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "")
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    monkeypatch.setenv("WORLD_SIZE", "2")
    launching.use_cpu_without_accelerator()
    assert os.environ["ACCELERATE_USE_CPU"] == "true"
