"""The Teacher protocol: the one door through which every kind of teacher comes in."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from distilnlp.signals import Batch, SignalProfile, SignalRequest, Signals


@runtime_checkable
class Teacher(Protocol):
    """Anything that gives signals for a batch. `DistillationTrainer` accepts every object that has these members.

    A teacher need not be a model: it may look its answers up by a column of the data, which it then names in
    `columns`, and the trainer keeps that column in the batch.
    """

    @property
    def columns(self) -> frozenset[str]:
        """Entries of a batch that this teacher reads."""

    @property
    def profile(self) -> SignalProfile:
        """What this teacher can give."""

    def to(self, device: torch.device) -> None:
        """Move to the device that the batches will be on."""

    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the requested signals, without gradient. Entries that are not in `columns` are to be ignored."""


@runtime_checkable
class LookupTeacher(Teacher, Protocol):
    """A teacher whose answers were made before, and are looked up by row while rows become batches.

    That happens in the data loader, in its worker processes if it has some. What `look_up` returns becomes part of the
    batch, and `__call__` reads it there. Columns that it names and the student does not read are not collated.
    """

    def check_rows(self, dataset: Any, split: str) -> None:
        """Refuse, before any training, rows that have no answer; what cannot be read twice passes.

        Raises:
            DistillationError: a row without an answer, or with one that cannot be.
        """

    def look_up(self, rows: list[Mapping[str, Any]], batch: Batch) -> dict[str, Tensor]:
        """Return entries for the batch that was made of these rows, each with the rows as its first dimension."""
