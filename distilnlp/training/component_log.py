"""The components' running values: summed on the device, read only when somebody looks."""

import math
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from distilnlp.errors import NonFiniteLossError
from distilnlp.objective import LossBalance, Objective


class ComponentLog:
    """Averages the components of the objective over a window and over all processes.

    While training, each optimizer step weighs 1 for every component that had items in it. Nothing here waits for the
    device between two readings.
    """

    def __init__(self, names: list[str], accelerator: Accelerator) -> None:
        self._names, self._accelerator = names, accelerator
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
        means = zip(self._names, (sums / self._weights.clamp(min=1)).tolist(), self._weights.tolist(), strict=True)
        return {name: mean for name, mean, weight in means if weight}

    def clear(self) -> None:
        """Start a new window."""
        self._sums = self._weights = torch.zeros(len(self._names), device=self._accelerator.device)
        self._broken_since = torch.full_like(self._sums, math.inf)


class RunningLosses:
    """The components of an objective in the course of a training: weighed, logged and possibly balanced."""

    def __init__(self, objective: Objective, is_balanced: bool, accelerator: Accelerator) -> None:
        self._objective, self._log = objective, ComponentLog(objective.names, accelerator)
        self._balance = LossBalance(len(objective.names), accelerator) if is_balanced else None

    def clear(self) -> None:
        """Begin anew, without what a failed or interrupted run left."""
        self._log.clear()
        if self._balance is not None:
            self._balance.clear()

    def begin_step(self, num_items: Tensor) -> None:
        """Begin an optimizer step in which the components count so many items `[components]`, over all processes."""
        self._log.weigh((num_items > 0).float())
        if self._balance is not None:
            self._balance.begin_step(num_items)

    def total(self, values: Tensor, step: int, progress: float) -> Tensor:
        """Add a micro-batch's values `[components]` to those of an optimizer step, and return their weighted sum."""
        self._log.add(values, step)
        if self._balance is None:
            return self._objective.total(values, progress)
        self._balance.add(values)
        return self._objective.total(values, progress, self._balance.factors)

    def take(self, progress: float) -> dict[str, float]:
        """Return what `ComponentLog.read` does since the last time, with weights and the temperature if they change."""
        means = self._log.read()
        self._log.clear()
        objective, balance = self._objective, self._balance
        if objective.changes_temperature:
            means["temperature"] = objective.temperature(progress)
        if balance is None and not objective.changes_weights:
            return means
        factors = [1.0] * len(objective.components) if balance is None else balance.factors.tolist()
        weights = zip(objective.names, objective.weights(progress), factors, strict=True)
        return {**means, **{f"{name}_weight": weight * factor for name, weight, factor in weights}}

    def end_step(self) -> None:
        """End an optimizer step after which a checkpoint is written."""
        self._log.read()  # raises: a NaN must not replace the last good one
        if self._balance is not None:
            self._balance.end_step()

    def save(self, folder: str | Path) -> None:
        """Write what a checkpoint has of the losses."""
        if self._balance is not None:
            self._balance.save(folder)

    def load(self, folder: str | Path) -> None:
        """Read what a checkpoint has of the losses; see `LossBalance.load`."""
        if self._balance is not None:
            self._balance.load(folder)
