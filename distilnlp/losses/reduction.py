"""The one convention of every loss: its sum over the items that count, divided by a number of items."""

import torch
from torch import Tensor


def mean_over_items(per_item: Tensor, mask: Tensor | None = None, num_items: Tensor | int | None = None) -> Tensor:
    """Sum `per_item` over the items that count and divide by `num_items`.

    Args:
        per_item: one loss an item, of any shape.
        mask: bool of the same shape, True where the item counts; None = all count. Items that do not count get a
            gradient of exactly zero.
        num_items: the divisor. None = the number of items that count here, which makes this a mean. The trainer
            passes the count over the whole accumulated batch of all processes instead, so that the sum over
            micro-batches and processes is the mean over that batch. A count of 0 gives a loss of 0 with its graph.

    Returns:
        A scalar.
    """
    if mask is not None:
        per_item = torch.where(mask, per_item, torch.zeros_like(per_item))
    if num_items is None:
        num_items = per_item.numel() if mask is None else mask.sum()
    divisor = num_items.clamp(min=1) if isinstance(num_items, Tensor) else max(num_items, 1)
    return per_item.sum() / divisor


def ignore_masked(target: Tensor, mask: Tensor | None) -> Tensor:
    """Set the target to zero where items do not count, so that a NaN there cannot reach a gradient (0 · NaN = NaN).

    Args:
        target: `[..., width]`.
        mask: bool `[...]`, True where the item counts; None = all count.
    """
    return target if mask is None else target.masked_fill(~mask.unsqueeze(-1), 0)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return half-precision values as float32, for log-softmax and squared differences lose too much in bf16."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
