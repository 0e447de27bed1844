"""A teacher with a tokenizer of its own: it reads its own encoding of the text, from columns named `teacher_*`."""

from dataclasses import replace

import torch

from distilnlp.errors import DistillationError
from distilnlp.models.identity import joint_fingerprint
from distilnlp.signals import TEACHER, WORD_IDS, Batch, SignalRequest, Signals, under
from distilnlp.tasks import task_named
from distilnlp.teachers.protocol import Teacher


class OwnEncodingTeacher:
    """Gives another teacher the entries of a batch that begin with a prefix, under their plain names.

    Args:
        teacher: the teacher that reads them.
        prefix: what the names begin with; members of one ensemble have one each.
    """

    def __init__(self, teacher: Teacher, prefix: str = TEACHER) -> None:
        self._teacher, self._prefix = teacher, prefix
        self._task = task_named(teacher.profile.task)
        # What says which logits count is part of its encoding too, and what says where each part of the text is.
        shared = {WORD_IDS, *([] if self._task.aligned_by is None else [self._task.aligned_by])}
        own = teacher.columns | self._task.loss_inputs | shared
        self.columns = frozenset({prefix + name for name in own} | shared)
        self.profile = teacher.profile

    @property
    def fingerprint(self) -> str | None:
        """What identifies the teacher's answers."""
        return joint_fingerprint(self._teacher, self._prefix)

    def to(self, device: torch.device) -> None:
        """Move the teacher to a device."""
        self._teacher.to(device)

    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the teacher's signals for its own encoding of the batch.

        Raises:
            DistillationError: the batch has no such encoding.
        """
        own = under(self._prefix, batch)
        if not own:
            raise DistillationError(
                "the teacher has a tokenizer of its own, but the rows have no encoding for it. Give them the columns "
                f"{self._prefix}input_ids, {self._prefix}attention_mask and so on: see pair_encodings."
            )
        signals = self._teacher(own, request)
        return replace(signals, logits=self._task.align_logits(signals.logits, batch, own))
