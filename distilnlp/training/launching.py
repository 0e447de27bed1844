"""Launching: as many processes as were asked for, or an error."""

import os

import torch

from distilnlp.errors import DistillationError

# What `accelerate launch` sets for the process it starts, MASTER_ADDR only where it was asked for several.
ASKED_FOR_SEVERAL = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"}


def use_cpu_without_accelerator() -> None:
    """Make a launch of several processes on a machine without accelerator run on its CPUs (gloo).

    A launcher's `use_cpu: true` does not reach the processes it starts, and without it each of them would run alone.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.accelerator.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")


def check_process_count(working_together: int) -> None:
    """Refuse that fewer processes work together, as this one sees it, than the launcher's variables name."""
    asked = os.environ.get("WORLD_SIZE")
    if asked is None and working_together == 1 and os.environ.keys() >= ASKED_FOR_SEVERAL:
        asked = "several"  # how many, the launcher does not pass on
    if asked == "several" or working_together < int(asked or 1):
        raise DistillationError(
            f"{asked} processes were asked for, but only {working_together} would train together: `accelerate launch` "
            "starts a single process for --cpu and for distributed_type MULTI_CPU. On CPUs launch with `--config_file "
            "accelerate_configs/cpu.yaml`, or with ACCELERATE_USE_CPU=true accelerate launch --multi_gpu "
            f"--num_processes {'N' if asked == 'several' else asked} …; for a single process unset MASTER_ADDR."
        )
