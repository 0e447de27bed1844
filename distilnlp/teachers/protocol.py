"""The Teacher protocol: the one door through which every kind of teacher comes in."""

from typing import Protocol, runtime_checkable

import torch

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
        ...

    @property
    def profile(self) -> SignalProfile:
        """What this teacher can give."""
        ...

    def to(self, device: torch.device) -> None:
        """Move to the device that the batches will be on."""
        ...

    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the requested signals, without gradient. Entries that are not in `columns` are to be ignored."""
        ...
