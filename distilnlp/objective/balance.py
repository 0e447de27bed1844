"""Balance: weights that make up for how large the components are."""

from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

from distilnlp.errors import DistillationError

FILE_NAME = "loss_balance.safetensors"
KEPT = 0.98  # share of the running magnitude that a step keeps: it follows about the last fifty steps
SMALLEST = 1e-8


class LossBalance:
    """Divides every component's weight by its running magnitude, so that a weight says how much the component matters.

    The magnitude is the mean of the component's absolute value over the last steps; a step without items leaves it
    as it was. The weights are scaled so that the first component's stays as it is given. The accelerator sums over the
    processes. Nothing here waits for the device.
    """

    def __init__(self, count: int, accelerator: Accelerator) -> None:
        self._count, self._accelerator = count, accelerator
        self.clear()

    def clear(self) -> None:
        """Start again, as before the first step."""
        device = self._accelerator.device
        self._sums, self._weights, self._step, self._had_items = torch.zeros(4, self._count, device=device)

    def add(self, values: Tensor) -> None:
        """Add the components' values `[components]` of one micro-batch to the step's."""
        self._step = self._step + values.detach().to(self._step.dtype)

    def begin_step(self, counts: Tensor) -> None:
        """Begin an optimizer step with this number of items of each component `[components]`, over all processes."""
        self.end_step()
        self._had_items = (counts > 0).to(self._step.dtype)

    def end_step(self) -> None:
        """Take in the step, on every process alike. To end it twice changes nothing."""
        values = self._accelerator.reduce(self._step, reduction="sum").abs()
        kept = 1 - (1 - KEPT) * self._had_items
        self._sums = self._sums * kept + values * (1 - kept)
        self._weights = self._weights * kept + (1 - kept)
        self._step, self._had_items = torch.zeros_like(self._step), torch.zeros_like(self._step)

    @property
    def factors(self) -> Tensor:
        """What each component's weight is to be multiplied by, `[components]`; 1 before the first step."""
        # A loss that was exactly 0 so far, as that of a student copied from its teacher, has no magnitude yet either.
        magnitudes = torch.where(self._sums > 0, self._sums / self._weights.clamp(min=SMALLEST), 1.0)
        return magnitudes[0].clamp(min=SMALLEST) / magnitudes.clamp(min=SMALLEST)

    def save(self, folder: str | Path) -> None:
        """Write the running magnitudes into a checkpoint folder."""
        save_file({"sums": self._sums, "weights": self._weights}, Path(folder) / FILE_NAME)

    def load(self, folder: str | Path) -> None:
        """Read the running magnitudes from a checkpoint folder.

        Raises:
            DistillationError: the checkpoint has none, or those of another objective.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise DistillationError(
                f"expected the losses' running magnitudes in {path}, but there is no such file: the checkpoint was "
                "written without balance_losses. Resume with the arguments it was trained with, or start anew."
            )
        kept = load_file(path)
        if kept["sums"].shape != self._sums.shape:
            raise DistillationError(
                f"{path} has the magnitudes of {len(kept['sums'])} losses, but the objective has {len(self._sums)}. "
                "Resume with the losses it was trained with, or start anew."
            )
        self._sums, self._weights = (kept[name].to(self._sums.device) for name in ("sums", "weights"))
