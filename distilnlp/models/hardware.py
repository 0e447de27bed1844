"""What the machine is good at, asked once and in one place."""

import torch


def bf16_is_fast() -> bool:
    """Tell whether the hardware multiplies bf16 natively (not emulated): recent GPUs, CPUs with AVX-512 bf16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.backends.mps.is_available():
        return False
    capabilities: dict[str, bool] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older releases cannot tell: then the answer is no
    return bool(capabilities.get("avx512_bf16") or capabilities.get("bf16"))
