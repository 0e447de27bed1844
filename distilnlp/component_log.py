"""The components' running values: summed on the device, read only when somebody looks."""

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
        self._sums = self._weights = torch.zeros(len(names), device=accelerator.device)

    def weigh(self, weights: Tensor) -> None:
        """Add to each component's total weight `[components]`: the same on every process."""
        self._weights = self._weights + weights

    def add(self, weighted_values: Tensor) -> None:
        """Add this process's share `[components]` of the components' weighted values."""
        self._sums = self._sums + weighted_values.detach()

    def read(self, step: int) -> dict[str, float]:
        """Return each component's weighted mean over the window, without clearing the window.

        Args:
            step: the optimizer step, for the message.

        Raises:
            NonFiniteLossError: a component is NaN or infinite. On every process alike.
        """
        sums = self._accelerator.reduce(self._sums, reduction="sum")
        values = (sums / self._weights.clamp(min=1)).tolist()
        for name, value in zip(self._names, values, strict=True):
            if not torch.isfinite(torch.tensor(value)):
                raise NonFiniteLossError(
                    f"{name} became {value} at or before optimizer step {step}. The last checkpoint is from before "
                    "that and is kept. Lower the learning rate or that component's weight, or train in float32."
                )
        return {
            name: value for name, value, seen in zip(self._names, values, self._weights.tolist(), strict=True) if seen
        }

    def clear(self) -> None:
        """Start a new window."""
        self._sums, self._weights = torch.zeros_like(self._sums), torch.zeros_like(self._weights)
