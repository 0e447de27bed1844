"""A teacher whose logits are put into the student's label order."""

import dataclasses

import torch

from distilnlp.errors import DistillationError
from distilnlp.labels import class_order
from distilnlp.models.identity import joint_fingerprint
from distilnlp.signals import Batch, SignalProfile, SignalRequest, Signals
from distilnlp.teachers.protocol import Teacher


class ReorderedTeacher:
    """Gives another teacher's signals with its classes in a new order.

    Args:
        teacher: the teacher whose answers are used.
        order: for each class of the result, its index in that teacher's logits.
    """

    def __init__(self, teacher: Teacher, order: list[int]) -> None:
        self._teacher, self._order = teacher, torch.tensor(order)
        self.columns, names = teacher.columns, teacher.profile.label_names
        reordered = None if names is None else tuple(names[index] for index in order)
        self.profile = dataclasses.replace(teacher.profile, label_names=reordered)

    @property
    def fingerprint(self) -> str | None:
        """What identifies the teacher's answers."""
        return joint_fingerprint(self._teacher, self._order.tolist())

    def to(self, device: torch.device) -> None:
        """Move the teacher and the order to a device."""
        self._teacher.to(device)
        self._order = self._order.to(device)

    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the teacher's signals, classes reordered."""
        signals = self._teacher(batch, request)
        return dataclasses.replace(signals, logits=signals.logits.index_select(-1, self._order))


def in_label_order(teacher: Teacher, wanted: SignalProfile, owner: str) -> Teacher:
    """Return a teacher whose classes are in the wanted order, that of the owner, such as "the student".

    They are compared by label name where both sides name them.

    Raises:
        DistillationError: the teacher is for another task, names other labels, or has another number of classes.
    """
    given = teacher.profile
    if None not in (given.task, wanted.task) and given.task != wanted.task:
        raise DistillationError(
            f"the teacher and {owner} must be for the same task, but the teacher is for {given.task} and {owner} for "
            f"{wanted.task}. Build the student from this teacher, or use a teacher of the same task."
        )
    order = class_order(given, wanted, "the teacher", owner)
    return teacher if order is None else ReorderedTeacher(teacher, order)
