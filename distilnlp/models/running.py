"""How models are run: without dropout for a while, and in bf16 where the hardware is fast at it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def in_eval_mode(*models: nn.Module) -> Iterator[None]:
    """Switch dropout off in the block, then give each submodule back its own mode."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def bf16_is_fast() -> bool:
    """Tell whether the hardware multiplies bf16 natively (not emulated): recent GPUs, CPUs with AVX-512 bf16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.backends.mps.is_available():
        return False
    # Older releases cannot tell: then the answer is no.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("bf16"))


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Time work on a device, from idle to idle."""
    _wait_for(device)
    start = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    """Wait for the work queued on an accelerator: a forward pass there returns before it is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
