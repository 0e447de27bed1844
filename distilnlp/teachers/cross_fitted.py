"""Cross-fitting: each row is answered by the teacher that never saw its label."""

from collections.abc import Sequence

import torch

from distilnlp.errors import DistillationError
from distilnlp.losses.reduction import at_least_float32
from distilnlp.models.identity import joint_fingerprint
from distilnlp.signals import FOLD, NO_FOLD, Batch, SignalRequest, Signals
from distilnlp.tasks import task_named
from distilnlp.teachers.ensemble import EnsembleTeacher
from distilnlp.teachers.protocol import Teacher


class CrossFittedTeacher:
    """Several teachers of one task, each trained without one fold of the labelled rows, which it then answers.

    A teacher is more certain of the rows that it was trained on than of others, and a student must not learn that:
    Dao, Kamath, Syrgkanis, Mackey, "Knowledge Distillation as Semiparametric Inference" (arXiv 2104.09732). The entry
    `fold` of a batch, whole numbers `[batch]`, says which teacher answers a row; -1 stands for a row whose label none
    saw, which gets the mean of all (`EnsembleTeacher`). `assign_folds` makes the column. It gives no hidden states.

    Args:
        teachers: two or more; teacher k was trained without the labels of fold k. Those that name the first one's
            labels in another order are reordered.

    Raises:
        DistillationError: fewer than two teachers, teachers with different tasks or labels, or a task whose answers
            cannot be told apart by row.
    """

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        if len(teachers) < 2:
            raise DistillationError(
                f"cross-fitting needs two teachers or more, each trained without one fold, but there are "
                f"{len(teachers)}. Train one for each fold."
            )
        self._all = EnsembleTeacher(teachers)
        self.profile = self._all.profile
        task = task_named(self.profile.task)
        if task.draws_its_items:
            raise DistillationError(
                f"the teachers of {task.name} cannot be cross-fitted, because they answer chosen tokens and not rows. "
                "Use one teacher, or an ensemble of them."
            )
        self.columns = self._all.columns | {FOLD}

    @property
    def fingerprint(self) -> str | None:
        """What identifies the teachers' answers."""
        return joint_fingerprint(self._all, FOLD)

    def to(self, device: torch.device) -> None:
        """Move every teacher to a device."""
        self._all.to(device)

    @torch.no_grad()
    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the logits, each row's from its own teacher.

        Raises:
            DistillationError: more than logits is asked for, or the batch has no `fold` or one without a teacher.
        """
        if request.names:
            raise DistillationError(
                f"a cross-fitted teacher gives only logits, because each row's answer comes from another model, but "
                f"{', '.join(request.names)} are asked for. Remove the losses that read them, or use one live model as "
                "teacher."
            )
        if FOLD not in batch:
            raise DistillationError(
                f"a cross-fitted teacher needs the entry {FOLD!r} in every batch, but this one has {sorted(batch)}. "
                f"Add the column {FOLD!r} to the rows: assign_folds says which teacher may answer which row."
            )
        folds, count = batch[FOLD].long(), len(self._all.teachers)
        unknown = batch[FOLD][~torch.isin(batch[FOLD], torch.arange(NO_FOLD, count, device=folds.device))]
        if len(unknown):
            raise DistillationError(
                f"{FOLD!r} must be a whole number from 0 to {count - 1}, one for each teacher, or {NO_FOLD} for all, "
                f"but a batch has {unknown[0].item()}. Assign as many folds as there are teachers."
            )
        rows, answers = [], []
        for fold in folds.unique().tolist():
            rows.append((folds == fold).nonzero().squeeze(-1))
            teacher = self._all if fold == NO_FOLD else self._all.teachers[fold]
            own = {name: value[rows[-1]] for name, value in batch.items()}
            answers.append(at_least_float32(teacher(own, SignalRequest()).logits))
        return Signals(logits=torch.cat(answers)[torch.cat(rows).argsort()])
