"""Rows with raw text: tokenised as the student reads them, and as the teacher does where its tokenizer is another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.data import DataConfig, pair_encodings
from distilnlp.errors import DistillationError
from distilnlp.models.shapes import longest_readable
from distilnlp.signals import TEXT, TEXT_PAIR, TOKENS
from distilnlp.tasks import Task

USUAL_LENGTH = 512  # tokens, where neither tokenizer nor model has a limit


@dataclass(frozen=True)
class RawText:
    """Tokenises rows that have the column `text`, and perhaps `text_pair`; all other data stays as it is.

    Texts are cut where the first of the models that read them, or the tokenizer, reads no further.

    Attributes:
        tokenizer: of the student; None = nothing is tokenised.
        teachers: what answers.
        teacher_tokenizer: of the teacher, if it is another: its encoding then stands beside the student's.
    """

    tokenizer: PreTrainedTokenizerBase | None
    teachers: Sequence[Any] = ()
    teacher_tokenizer: Any = None

    def tokenised(self, rows: Any, split: str, task: Task, student: PreTrainedModel) -> Any:
        """Return rows as student and teacher read them.

        Args:
            rows: of any kind.
            split: what they are for.
            task: of the models.
            student: what is trained.

        Raises:
            DistillationError: the members of an ensemble have tokenizers of their own.
        """
        is_plain = isinstance(rows, Dataset) and rows.format["type"] != "custom"  # which makes its rows when read
        columns = rows.column_names if is_plain else []
        is_text = TEXT in columns and TOKENS.values not in columns and task.rows.are_texts
        if self.tokenizer is None or not is_text:
            return rows
        options: dict[str, Any] = {"config": DataConfig(source="rows"), "for_evaluation": split != "training"}
        title = f"Tokenising the {split} data"
        readers = [student, *(self.teachers if self.teacher_tokenizer is None else ())]
        own = task.rows.encode(rows, self.tokenizer, _length(readers, self.tokenizer), title, **options)
        if self.teacher_tokenizer is None:
            return own
        if not isinstance(self.teacher_tokenizer, PreTrainedTokenizerBase):
            raise DistillationError(
                f"the {split} data has raw text, which is tokenised here for one teacher, but teacher_processing_class "
                "holds a tokenizer for each member of an ensemble. Tokenise the rows: docs/students.md."
            )
        texts = rows.select_columns([name for name in (TEXT, TEXT_PAIR) if name in columns])
        length = _length(self.teachers, self.teacher_tokenizer)
        return pair_encodings(task.rows, own, task.rows.encode(texts, self.teacher_tokenizer, length, title, **options))


def _length(models: Sequence[Any], tokenizer: PreTrainedTokenizerBase) -> int:
    limits = [longest_readable(model) for model in models if isinstance(model, PreTrainedModel)]
    known = [limit for limit in limits if limit is not None]
    return min([*known, tokenizer.model_max_length, *([] if known else [USUAL_LENGTH])])
