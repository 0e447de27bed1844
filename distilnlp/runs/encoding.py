"""The rows of a run as a model reads them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase

from distilnlp.errors import DistillationError
from distilnlp.runs.members import Member
from distilnlp.runs.models import collator_of
from distilnlp.runs.plan import Plan
from distilnlp.signals.names import MODEL_INPUTS, NO_LABEL, TEACHER_TEXT
from distilnlp.signals.views import prefixed_columns, student_view, teacher_view
from distilnlp.tasks.question_answering.rows import QuestionRows
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

    @classmethod
    def of_student(cls, plan: Plan) -> "EncodedRows":
        """Tokenise what the student reads."""
        return cls._of(plan, plan.tokenizer, plan.max_length, student_view)

    @classmethod
    def of_member(cls, plan: Plan, member: Member) -> "EncodedRows":
        """Tokenise what a model of the teacher reads."""
        return cls._of(plan, member.tokenizer, member.max_length, teacher_view)

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

    @classmethod
    def _of(
        cls, plan: Plan, tokenizer: PreTrainedTokenizerBase, max_length: int, view: Callable[[Dataset], Dataset]
    ) -> "EncodedRows":
        rows, data, config = plan.task.rows, plan.data, plan.recipe.data

        def encode(part: Dataset, name: str, for_evaluation: bool = False) -> Dataset:
            desc = f"Tokenising the {name} data"
            options: dict[str, Any] = {"config": config, "for_evaluation": for_evaluation}
            if isinstance(rows, QuestionRows) and view is student_view and plan.has_two_views:
                options["with_characters"] = True  # they tell what the teacher is to read, and where
            return rows.encode(view(part), tokenizer, max_length, desc, **options)

        def has_all(part: Dataset) -> bool:
            return view is student_view or plan.recipe.teacher.text_columns is None or TEACHER_TEXT in part.column_names

        collate = collator_of(plan.task, tokenizer, config)  # refuses a tokenizer that the task cannot use
        train = encode(data.train, "training")
        test = encode(data.test, "test", True) if has_all(data.test) else None
        validation = None
        if data.validation is not None and has_all(data.validation):
            validation = encode(data.validation, "validation", True)
        if test is not None:
            _require_answers(test, plan)
        return cls({"": tokenizer}, max_length, collate, encode, train, test, validation)


def _joined(first: Dataset, others: dict[str, Dataset]) -> Dataset:
    """Return rows with the same rows' other encodings beside them, under a prefix each."""
    parts = [first]
    for prefix, rows in others.items():
        inputs = rows.select_columns([name for name in MODEL_INPUTS if name in rows.column_names])
        parts.append(prefixed_columns(prefix, inputs))
    return concatenate_datasets(parts, axis=1)


def _require_answers(test: Dataset, plan: Plan) -> None:
    """Refuse test rows of which no label is left once they are cut, before anything is trained for them."""
    if plan.task.rows.needs_labels:
        has_answers = bool(plan.task.rows.is_labelled(test).any())
    else:
        has_answers = any(label != NO_LABEL for labels in test["labels"] for label in labels)
    if not has_answers:
        raise DistillationError(
            f"no label of the test rows is left when they are cut after {plan.max_length} tokens, so there is nothing "
            "to measure. Raise data.max_length (masked language modelling: or data.mask_probability)."
        )
