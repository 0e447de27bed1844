"""The rows of a run as a tokenizer reads them."""

from collections.abc import Callable
from dataclasses import dataclass

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from distilnlp.data import labelled_rows
from distilnlp.data.rows import TEACHER_TEXT
from distilnlp.data.views import student_view, teacher_view
from distilnlp.errors import DistillationError
from distilnlp.labels import NO_LABEL
from distilnlp.runs.models import collator_of
from distilnlp.runs.plan import Plan


@dataclass(frozen=True)
class EncodedRows:
    """The run's rows as one model reads them.

    Attributes:
        tokenizer: of the model.
        train: labelled and unlabelled rows.
        labelled: the training rows that have a label.
        test: None where the test rows lack what the model reads.
        validation: None where there is none, or it lacks what the model reads.
    """

    tokenizer: PreTrainedTokenizerBase
    train: Dataset
    labelled: Dataset
    test: Dataset | None
    validation: Dataset | None

    @classmethod
    def of_student(cls, plan: Plan) -> "EncodedRows":
        """Tokenise what the student reads."""
        return cls._of(plan, plan.tokenizer, plan.max_length, student_view)

    @classmethod
    def of_teacher(cls, plan: Plan) -> "EncodedRows":
        """Tokenise what the teacher reads."""
        return cls._of(plan, plan.teacher_tokenizer, plan.teacher_max_length, teacher_view)

    @classmethod
    def _of(
        cls, plan: Plan, tokenizer: PreTrainedTokenizerBase, max_length: int, view: Callable[[Dataset], Dataset]
    ) -> "EncodedRows":
        rows, data, config = plan.task.rows, plan.data, plan.recipe.data

        def encode(part: Dataset, name: str, for_evaluation: bool = False) -> Dataset:
            desc = f"Tokenising the {name} data"
            return rows.encode(view(part), tokenizer, max_length, desc, config=config, for_evaluation=for_evaluation)

        def has_all(part: Dataset) -> bool:
            return view is student_view or plan.recipe.teacher.text_columns is None or TEACHER_TEXT in part.column_names

        collator_of(plan.task, tokenizer, config)  # refuses a tokenizer that the task cannot use
        train = encode(data.train, "training")
        test = encode(data.test, "test", True) if has_all(data.test) else None
        validation = None
        if data.validation is not None and has_all(data.validation):
            validation = encode(data.validation, "validation", True)
        if test is not None:
            _require_answers(test, plan)
        return cls(tokenizer, train, labelled_rows(train, rows), test, validation)


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
