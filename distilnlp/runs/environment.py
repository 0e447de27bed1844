"""The machine and the versions behind a figure."""

import os
import platform
from importlib.metadata import version

import torch

PACKAGES = ("distilnlp", "torch", "transformers", "datasets", "accelerate")


def describe_environment() -> dict[str, str]:
    """Return the versions and the hardware that a result was measured with."""
    return {
        **{package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "device": _device(),
    }


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.machine()} CPU, {cores} cores, {torch.get_num_threads()} threads"
