"""Launching: as many processes as were asked for, or an error."""

import os
import re
from collections.abc import Sequence

import psutil
import torch
import yaml
from accelerate.commands.config.config_args import default_config_file
from accelerate.commands.launch import launch_command_parser

from distilnlp.errors import DistillationError

# accelerate launch, accelerate-launch, python -m accelerate.commands.launch
LAUNCH = re.compile(r"(^|-|[./]commands[./])launch(\.py)?$")


def use_cpu_without_accelerator() -> None:
    """Make a launch of several processes on a machine without accelerator run on its CPUs (gloo).

    A launcher's `use_cpu: true` does not reach the processes it starts, and without it each of them would run alone.
    """
    if started_processes() > 1 and not torch.accelerator.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")


def check_process_count(working_together: int) -> None:
    """Compare the processes that work together with those that were started and those that were asked for.

    Args:
        working_together: the world size that this process sees.

    Raises:
        DistillationError: fewer work together than were asked for.
    """
    asked = max(asked_processes(), started_processes())
    if working_together < asked:
        raise DistillationError(
            f"{asked} processes were asked for, but only {working_together} would train together: `accelerate launch` "
            "starts a single process for --cpu and for distributed_type MULTI_CPU. On CPUs launch with `--config_file "
            "accelerate_configs/cpu.yaml`, or with ACCELERATE_USE_CPU=true accelerate launch --multi_gpu "
            f"--num_processes {asked} …"
        )


def started_processes() -> int:
    """Return how many processes the launcher says it started, over all machines; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", 1))


def asked_processes() -> int:
    """Return how many processes the `accelerate launch` above this process was told to start; 1 without one."""
    parent = psutil.Process().parent()
    return 1 if parent is None else _asked_by(_command_line(parent))


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # a process of somebody else: it did not launch us
        return []


def _asked_by(command: Sequence[str]) -> int:
    launch = next((index for index, word in enumerate(command) if LAUNCH.search(word)), None)
    if launch is None or not any("accelerate" in word for word in command[: launch + 1]):
        return 1
    arguments, _ = launch_command_parser().parse_known_args(list(command[launch + 1 :]))
    if arguments.num_processes is not None:
        return arguments.num_processes
    config_file = arguments.config_file or default_config_file  # what `accelerate config` wrote
    if not os.path.isfile(config_file):
        return 1
    with open(config_file, encoding="utf-8") as file:
        return int((yaml.safe_load(file) or {}).get("num_processes") or 1)
