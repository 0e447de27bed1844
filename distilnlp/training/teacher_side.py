"""The teacher's side of a training: what is asked, what it reads of each row, and where its answers come from."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import DataCollatorWithPadding, DefaultDataCollator, TrainerCallback, default_data_collator

from distilnlp.answers import CachedTeacher
from distilnlp.answers.keeping import AskedRows, decide_keeping, keep_answers, obstacle_in_rows
from distilnlp.errors import DistillationError, NotKeptError
from distilnlp.objective import Objective
from distilnlp.signals import LABEL_COLUMNS, LABEL_INPUTS, TEACHER, Batch, SignalProfile, SignalRequest, Signals
from distilnlp.tasks import ChoiceCollator, MaskingCollator, RowCollator, Task
from distilnlp.teachers import (
    DistillationCollator,
    LookUp,
    LookupTeacher,
    OwnEncodingTeacher,
    Teacher,
    as_teacher,
    in_label_order,
)
from distilnlp.training.arguments import DistillationTrainingArguments
from distilnlp.training.refusals import check_own_encoding

logger = logging.getLogger(__name__)

FOLDER = "_teacher_cache"  # in the output folder; the underscore keeps it out of what is pushed to the Hub
# Collators that leave nothing to chance (one that draws masks is left alone by rows that are masked already).
SAME_EVERY_TIME = (DataCollatorWithPadding, DefaultDataCollator, RowCollator, ChoiceCollator, MaskingCollator)


class TeacherSide(TrainerCallback):
    """A teacher in a training, which may be none; from `start` to `end` its answers may be kept ones.

    Args:
        model: a model, several, or a `Teacher`; see `DistillationTrainer`.
        args: of the training.
        tokenizer: the student's.
        own_tokenizers: the teacher's where it is another, or those of an ensemble's members by their prefixes.

    Attributes:
        given: the teacher, or its kept answers, under the names of its own columns; None = there is no teacher.
        prefix: of its columns and entries; empty where it reads what the student reads.
        columns: the entries of a batch that it reads.
        profile: what it can give, labels in the student's order; None without a teacher.
    """

    def __init__(self, model: Any, args: DistillationTrainingArguments, tokenizer: Any, own_tokenizers: Any) -> None:
        self.given: Teacher | None = None if model is None else as_teacher(model, args.teacher_dtype)
        if own_tokenizers is not None and not isinstance(own_tokenizers, Mapping):
            own_tokenizers = {TEACHER: own_tokenizers}
        # Members of an ensemble that have encodings of their own are given under their own prefixes, and read them.
        self.prefix = TEACHER if own_tokenizers is not None and TEACHER in own_tokenizers else ""
        self._args, self._own_tokenizers = args, own_tokenizers
        self._tokenizers = own_tokenizers or ({} if tokenizer is None else {"": tokenizer})
        self._has_own_collator = False
        self._live = self.given
        if self.given is not None:
            self.given.to(args.device)

    # ---- Fitted to a student ----

    def fit(self, task: Task, student: SignalProfile) -> None:
        """Answer as the batches of a student need it.

        Raises:
            DistillationError: labels, or an encoding of its own, that do not fit the student or the task.
        """
        self._task, self._student = task, student
        self._ask(self.given)
        self.columns = frozenset() if self._asked is None else self._asked.columns
        self.profile = None if self._asked is None else self._asked.profile

    def _ask(self, given: Teacher | None) -> None:
        """Ask this teacher from now on: with labels in the student's order, by its own entries of a batch."""
        self.given = given
        self._asked = None if given is None else in_label_order(given, self._student, "the student")
        if self._asked is not None and self.prefix:
            check_own_encoding(self._task)
            self._asked = OwnEncodingTeacher(self._asked)

    def collator(self, given: Any, tokenizer: Any, objective: Objective) -> Any:
        """Return what collates the rows of both sides: the user's own, or the task's."""
        self._has_own_collator = given is not None
        if given is not None:
            return given
        if self._own_tokenizers is None:
            return self._task.collator(tokenizer)
        teachers = {prefix: self._task.collator(own) for prefix, own in self._own_tokenizers.items()}
        return DistillationCollator(self._task.collator(tokenizer), teachers, objective.aligned_by)

    def collate(
        self, collate: Any, limits: Mapping[str, int], student_inputs: frozenset[str], is_asked: bool
    ) -> DistillationCollator:
        """Return what makes the batches of a data loader, with the teacher's answers where they are looked up by row.

        See `collator`, `id_limits` and `LookUp` for the arguments.
        """
        look_up = None
        if isinstance(self.given, LookupTeacher):
            columns = student_inputs | self._task.loss_inputs | {*LABEL_COLUMNS, *LABEL_INPUTS}
            look_up = LookUp(self.given, columns, self.prefix, is_asked)
        return DistillationCollator(collate, limits=limits, look_up=look_up)

    def check_rows(self, train_dataset: Any, *evaluated: Any) -> None:
        """Refuse data for whose rows a teacher whose answers are looked up, by the student's encoding, has none."""
        if isinstance(self.given, LookupTeacher) and not self.prefix:
            self.given.check_rows(train_dataset, "training")
            for rows in evaluated:
                self.given.check_rows(rows, "evaluation")

    # ---- In a training ----

    def start(self, objective: Objective, datasets: list[Any], collate: Any) -> None:
        """Ask the teacher once for a whole training, if that is faster than to run it in every epoch.

        It is asked about the rows of the data sets, of which the training rows are the first.

        Raises:
            DistillationError: `teacher_cache` names a folder, and the answers cannot be kept there.
        """
        if self.given is None or not objective.needs_teacher or isinstance(self.given, LookupTeacher):
            return
        args, task, num_labels = self._args, self._task, self.given.profile.num_labels
        has_several = isinstance(collate, DistillationCollator)
        own_collate = collate.teachers.get(self.prefix, collate) if has_several else collate
        obstacle, doubt = obstacle_in_rows(task, datasets), None
        if self._has_own_collator and not _is_fixed(own_collate):
            doubt = "data_collator is one of your own, which may change the rows"
        rows = 0 if obstacle else len(datasets[0])  # a stream has no length
        folder = Path(str(args.output_dir), FOLDER)
        keeping = decide_keeping(args, task, objective, num_labels, rows, folder, obstacle=obstacle, doubt=doubt)
        if keeping.is_refused:
            reason = f"teacher_cache is {args.teacher_cache!r}, but {keeping.why_live.rstrip('.')}"
            raise DistillationError(f"{reason}. Set teacher_cache to auto or off.")
        why_live = keeping.why_live
        if keeping.folder is not None:
            asked = AskedRows(task, objective, datasets, own_collate, self._tokenizers, self.prefix)
            try:
                keep_answers(keeping.folder, args, self.given, asked, overwrite=not keeping.is_named)
                self.given.to(torch.device("cpu"))  # out of the way of the student
                self._ask(CachedTeacher(keeping.folder, verify=False))  # it was verified while it was written
            except NotKeptError as error:
                if keeping.is_named:
                    raise
                why_live = str(error)
        if why_live:
            logger.info("teacher: runs beside the student, for %s", why_live)

    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the teacher's signals for a batch."""
        assert self._asked is not None
        return self._asked(batch, request)

    def on_step_end(self, args: object, state: object, control: object, **kwargs: Any) -> None:
        """Tell a teacher that follows its student (it has a method `after_step`) that an optimizer step is done."""
        follow = getattr(self.given, "after_step", None)
        if follow is not None:
            follow(kwargs["model"])

    def end(self) -> None:
        """Let the teacher answer anything again, also after a start that failed."""
        self._ask(self._live)
        if self._live is not None:
            self._live.to(self._args.device)


def _is_fixed(collate: object) -> bool:
    """Whether a collator is known to make the same of the same rows; a class derived from a known one is not known."""
    if type(collate) is DistillationCollator:
        return all(map(_is_fixed, (collate.student, *collate.teachers.values())))
    return collate is default_data_collator or type(collate) in SAME_EVERY_TIME
