"""What a model reads of a row, by name: a new kind of input, such as images, is one more `Modality`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Modality:
    """The columns of a row, and entries of a batch, that hold what a model reads.

    Attributes:
        values: one value a position, `[texts, length]`; a row is as long as its values are.
        mask: 1 at real positions, 0 at padding, of the same shape; without it all are real.
        further: what some models read besides, a value a position.
    """

    values: str
    mask: str
    further: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """All of these columns."""
        return (self.values, self.mask, *self.further)

    def is_real(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Bool, of the shape of the values: True at real positions."""
        given = batch.get(self.mask)
        return torch.ones_like(batch[self.values], dtype=torch.bool) if given is None else given.bool()

    def length_of(self, row: Mapping[str, Any]) -> int:
        """Return the positions of a row that is not padded; of several texts, choices, those of the longest."""
        values = row[self.values]
        return max(map(len, values)) if len(values) and np.ndim(values[0]) else len(values)


TOKENS = Modality("input_ids", "attention_mask", ("token_type_ids",))
