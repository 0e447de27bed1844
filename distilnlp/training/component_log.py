"""The components' running values: summed on the device, read only when somebody looks."""

import math

import torch
from accelerate import Accelerator
from torch import Tensor

from distilnlp.errors import NonFiniteLossError


class ComponentLog:
    """Averages the components of the objective over a window and over all processes.

    While training, each optimizer step weighs 1 for every component that had items in it.

    Nothing here waits for the device between two readings.

    Args:
        names: component names, in the order of the values.
        accelerator: sums over the processes.
    """

    def __init__(self, names: list[str], accelerator: Accelerator) -> None:
        self._names = names
        self._accelerator = accelerator
        self._sums: Tensor
        self._weights: Tensor
        self._broken_since: Tensor  # the first optimizer step at which a component was not finite
        self.clear()

    def weigh(self, weights: Tensor) -> None:
        """Add to each component's total weight `[components]`: the same on every process."""
        self._weights = self._weights + weights

    def add(self, weighted_values: Tensor, step: int) -> None:
        """Add this process's share `[components]` of the components' weighted values at an optimizer step."""
        values = weighted_values.detach()
        self._sums = self._sums + values
        self._broken_since = torch.where(values.isfinite(), self._broken_since, self._broken_since.clamp(max=step))

    def read(self) -> dict[str, float]:
        """Return each component's weighted mean over the window, without clearing the window.

        Raises:
            NonFiniteLossError: a component became NaN or infinite; it names the first that did. On every process alike.
        """
        since = self._accelerator.gather(self._broken_since).view(-1, len(self._names)).amin(dim=0).tolist()
        if min(since) < math.inf:
            step = int(min(since))
            name = ", ".join(name for name, first in zip(self._names, since, strict=True) if first == step)
            raise NonFiniteLossError(
                f"{name} became NaN or infinite at optimizer step {step}. The last checkpoint is from before that and "
                "is kept. Lower the learning rate or that component's weight, or train in float32."
            )
        sums = self._accelerator.reduce(self._sums, reduction="sum")
        means = (sums / self._weights.clamp(min=1)).tolist()
        seen = self._weights.tolist()
        return {name: mean for name, mean, weight in zip(self._names, means, seen, strict=True) if weight}

    def clear(self) -> None:
        """Start a new window."""
        self._sums = self._weights = torch.zeros(len(self._names), device=self._accelerator.device)
        self._broken_since = torch.full_like(self._sums, math.inf)
