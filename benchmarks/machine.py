"""What the benchmarks share: a clock that waits for the device, and a line that says where something was measured."""

import platform
import time

import torch
import transformers


def device() -> torch.device:
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def now() -> float:
    """Return the time in seconds, after the device has done what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def described() -> str:
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    return f"{hardware} ({platform.machine()}), {versions}, {time.strftime('%Y-%m-%d')}"
