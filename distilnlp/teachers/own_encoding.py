"""A teacher with a tokenizer of its own: it reads its own encoding of the text, from columns named `teacher_*`."""

import torch

from distilnlp.data.pairs import TEACHER
from distilnlp.errors import DistillationError
from distilnlp.signals import Batch, SignalRequest, Signals
from distilnlp.teachers.protocol import Teacher


class OwnEncodingTeacher:
    """Gives another teacher the entries of a batch that begin with `teacher_`, under their plain names.

    Args:
        teacher: the teacher that reads them.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self.columns = frozenset(TEACHER + name for name in teacher.columns)
        self.profile = teacher.profile

    def to(self, device: torch.device) -> None:
        """Move the teacher to a device."""
        self._teacher.to(device)

    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the teacher's signals for its own encoding of the batch.

        Raises:
            DistillationError: the batch has no such encoding.
        """
        own = {name.removeprefix(TEACHER): value for name, value in batch.items() if name.startswith(TEACHER)}
        if not own:
            raise DistillationError(
                "the teacher has a tokenizer of its own, but the rows have no encoding for it. Give them the columns "
                f"{TEACHER}input_ids, {TEACHER}attention_mask and so on: see pair_encodings."
            )
        return self._teacher(own, request)
