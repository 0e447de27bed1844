"""The rows of a run as its models read them, tokenised when they are first asked for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase

from distilnlp.answers.keeping import AskedRows
from distilnlp.data import PreparedData, pair_encodings, same_positions
from distilnlp.errors import DistillationError
from distilnlp.runs.graph import settled
from distilnlp.runs.lengths import longest_text
from distilnlp.runs.plan import Plan
from distilnlp.runs.reading import Reader
from distilnlp.signals import (
    FOLD,
    MODEL_INPUTS,
    NO_LABEL,
    TEACHER,
    TEACHER_TEXT,
    WORD_IDS,
    prefixed_columns,
    student_view,
    teacher_view,
)
from distilnlp.tasks.collators import other_tokens
from distilnlp.teachers import DistillationCollator


@dataclass(frozen=True)
class EncodedRows:
    """The run's rows as one model reads them, or an ensemble of models.

    Attributes:
        tokenizers: of the model; of an ensemble's members by the prefix of their columns, the first without one.
        max_length: of its texts, in tokens; of an ensemble the first member's.
        collate: makes batches.
        encode: `(normalised rows, name, for_evaluation) -> rows` as this model reads them.
        train: labelled and unlabelled rows.
        test: None where the test rows lack what the model reads.
        validation: None where there is none, or it lacks what the model reads.
    """

    tokenizers: dict[str, PreTrainedTokenizerBase]
    max_length: int
    collate: Any
    encode: Callable[..., Dataset]
    train: Dataset
    test: Dataset | None
    validation: Dataset | None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, or that of the first."""
        return self.tokenizers[""]

    def beside(self, others: dict[str, "EncodedRows"]) -> "EncodedRows":
        """Return these rows with what other members of an ensemble read, by the prefix of their columns."""

        def all_of(part: str) -> Any:
            own = getattr(self, part)
            return (
                own if own is None else _joined(own, {prefix: getattr(rows, part) for prefix, rows in others.items()})
            )

        return replace(
            self,
            tokenizers=self.tokenizers | {prefix: rows.tokenizer for prefix, rows in others.items()},
            collate=DistillationCollator(self.collate, {prefix: rows.collate for prefix, rows in others.items()}),
            **{part: all_of(part) for part in ("train", "test", "validation")},
        )


class RunRows:
    """What each model of a run reads of its rows.

    Args:
        plan: of the run.
        data: rows to read instead of the plan's, for a look at the first ones.
    """

    def __init__(self, plan: Plan, data: PreparedData | None = None) -> None:
        self.plan, self.data = plan, data or plan.data

    # ---- Each model's own reading ----

    @settled
    def _alone(self) -> EncodedRows:
        return self._encode(self.plan.reader, student_view)

    @settled
    def members(self) -> list[EncodedRows]:
        """What each model of the teacher reads, tokenised once for those that read alike."""
        plan = self.plan
        by_view = {} if plan.has_two_views else {(plan.tokenizer, plan.max_length): self._alone}
        for member in plan.members:
            if member.view not in by_view:
                by_view[member.view] = self._encode(plan.reader_of(member), teacher_view)
        return [by_view[member.view] for member in plan.members]

    def _encode(self, reader: Reader, view: Callable[[Dataset], Dataset]) -> EncodedRows:
        plan, data = self.plan, self.data
        options = {}
        if plan.task.rows.are_windows and view is student_view and plan.has_two_views:
            options["with_characters"] = True  # they tell what the teacher is to read, and where

        def encode(part: Dataset | None, name: str, for_evaluation: bool = False) -> Any:
            lacks_text = view is teacher_view and plan.recipe.teacher.text_columns is not None
            if part is None or (lacks_text and TEACHER_TEXT not in part.column_names):
                return None
            return reader.encode(view(part), f"Tokenising the {name} data", for_evaluation, **options)

        collate = reader.collate  # refuses a tokenizer that the task cannot use
        train, test = encode(data.train, "training"), encode(data.test, "test", True)
        validation = encode(data.validation, "validation", True)
        if test is not None:
            _require_answers(test, plan)
        return EncodedRows({"": reader.tokenizer}, reader.max_length, collate, encode, train, test, validation)

    # ---- Side by side ----

    @settled
    def _both(self) -> tuple[EncodedRows, EncodedRows]:
        """What the student and the whole teacher read, with the same items in both.

        Of windows of a context, the teacher reads what the student's show. Of words, those are measured that both have
        room for.
        """
        student, teacher, task_rows = self._alone, self._together, self.plan.task.rows
        if not self.plan.has_two_views:
            return student, teacher
        if student.test is not None and teacher.test is not None:
            own, other = task_rows.with_common_labels(student.test, teacher.test)
            student, teacher = replace(student, test=own), replace(teacher, test=other)
        return student, replace(teacher, train=self._as_shown("train"), validation=self._as_shown("validation"))

    @settled
    def _together(self) -> EncodedRows:
        """What the whole teacher reads: the first member's rows, with what others read beside them."""
        members = self.plan.members
        others = {member.prefix: rows for member, rows in zip(members, self.members, strict=True) if member.prefix}
        first = self.members[0] if members else self._alone
        return first.beside(others) if others else first

    def _as_shown(self, part: str) -> Any:
        """Return what the teacher reads of the parts of the rows that the student's encoding shows."""
        plan, shown, own = self.plan, getattr(self._alone, part), getattr(self._together, part)
        if shown is None or own is None:
            return own
        member, is_given = plan.members[0], plan.recipe.teacher.max_length is not None
        limit = member.max_length if is_given else min(longest_text(one.model) for one in plan.members)
        return plan.task.rows.as_shown(shown, own, getattr(self.data, part), member.tokenizer, limit)

    @property
    def student(self) -> EncodedRows:
        """What the student reads, and the baseline."""
        return self._both[0]

    @property
    def teacher(self) -> EncodedRows:
        """What the whole teacher reads."""
        return self._both[1]

    # ---- For the distillation ----

    @settled
    def train(self) -> Dataset:
        """The training rows with all encodings, their words numbered if the objective compares these.

        Raises:
            DistillationError: the objective compares tokens, of which the two encodings have others.
        """
        plan, student, teacher = self.plan, self.student, self.teacher
        if not plan.has_two_views:
            return student.train
        train = pair_encodings(plan.task.rows, student.train, teacher.train)
        aligned_by, has_own_text = plan.objective.aligned_by, plan.recipe.teacher.text_columns is not None
        if not aligned_by or same_positions(train):
            return train
        if WORD_IDS in aligned_by.values() and not has_own_text:
            train = pair_encodings(plan.task.rows, self._with_words(student), self._with_words(teacher), words=True)
        columns = {*train.column_names}
        refused = [
            name for name, column in aligned_by.items() if column is None or not {column, TEACHER + column} <= columns
        ]
        if refused and has_own_text:
            raise DistillationError(
                f"{', '.join(refused)}: student and teacher are compared token by token, but the teacher reads another "
                "text (teacher.text_columns). Remove these losses, or use losses on whole texts."
            )
        if refused:
            raise other_tokens(dict.fromkeys(refused), "the training texts", TEACHER)
        return train

    def _with_words(self, rows: EncodedRows) -> Dataset:
        if WORD_IDS in rows.train.column_names:
            return rows.train
        return self.plan.task.rows.with_words(rows.train, self.data.train, rows.tokenizer, rows.max_length)

    @settled
    def validation(self) -> Dataset | None:
        """The rows that the student is evaluated on in training, with the teacher's encoding if it is asked there."""
        plan, own, other = self.plan, self.student.validation, self.teacher.validation
        asks_teacher = plan.trainings["student"].get("eval_soft_loss") and plan.has_two_views
        return pair_encodings(plan.task.rows, own, other) if asks_teacher and own and other else own

    @property
    def asked(self) -> AskedRows:
        """What the teacher is asked: its columns of the very rows that the student trains on."""
        plan, prefix = self.plan, TEACHER if self.plan.has_two_views else ""
        parts = [self.train, *([self.validation] if plan.student_args.eval_soft_loss and self.validation else [])]
        asked = [part.select_columns([n for n in part.column_names if n.startswith(prefix)]) for part in parts]
        return AskedRows(plan.task, plan.objective, asked, self.teacher.collate, self.teacher.tokenizers, prefix)

    @property
    def folds(self) -> dict[str, Any]:
        """How many rows each fold has, by its number; -1 is answered by all. Nothing without folds."""
        if self.plan.recipe.teacher.folds is None:
            return {}
        numbers, rows = np.unique(self.data.train[FOLD][:], return_counts=True)
        return {"folds": {str(number): int(count) for number, count in zip(numbers, rows, strict=True)}}


def _joined(first: Dataset, others: dict[str, Dataset]) -> Dataset:
    """Return rows with the same rows' other encodings beside them, under a prefix each."""
    parts = [first]
    for prefix, rows in others.items():
        inputs = rows.select_columns([name for name in MODEL_INPUTS if name in rows.column_names])
        parts.append(prefixed_columns(prefix, inputs))
    return concatenate_datasets(parts, axis=1)


def _require_answers(test: Dataset, plan: Plan) -> None:
    """Refuse test rows of which no label is left once they are cut, before anything is trained for them."""
    if plan.data.are_unlabelled:
        return
    if plan.task.rows.needs_labels:
        has_answers = bool(plan.task.rows.is_labelled(test).any())
    else:
        has_answers = any(label != NO_LABEL for labels in test["labels"] for label in labels)
    if not has_answers:
        raise DistillationError(
            f"no label of the test rows is left when they are cut after {plan.max_length} tokens, so there is nothing "
            "to measure. Raise data.max_length (masked language modelling: or data.mask_probability)."
        )
