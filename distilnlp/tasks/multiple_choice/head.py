"""Multiple choice: a question is an item, its classes are the choices, each a text of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    MODEL_FOR_MULTIPLE_CHOICE_MAPPING,
    AutoModelForMultipleChoice,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from distilnlp.errors import DistillationError
from distilnlp.labels import label_column
from distilnlp.signals import FOLD, LABEL_COLUMNS, NO_LABEL, TOKENS, Batch
from distilnlp.tasks.collators import Row, RowCollator, class_ids, require_tokens
from distilnlp.tasks.column_checks import IDS, NUMBERS, columns_of, is_tokenised, require_type
from distilnlp.tasks.multiple_choice.rows import CHOICE_ROWS
from distilnlp.tasks.multiple_choice.scores import CHOICE_EVALUATION
from distilnlp.tasks.task import Collate
from distilnlp.tasks.whole_rows import RowTask

MANY = 1000


class ChoiceCollator:
    """Pads the choices of every row to one length, and gives every row as many choices as the longest has.

    Args:
        tokenizer: pads; None for choices that have one length already.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self.pad = RowCollator(tokenizer)

    def __call__(self, rows: list[Row]) -> dict[str, Tensor]:
        """Return tensors `[batch, choices, length]`, `choice_mask` `[batch, choices]`, perhaps `labels` `[batch]`."""
        inputs = [_inputs(row) for row in rows]
        counts = [len(row[TOKENS.values]) for row in rows]
        most = max(counts)
        # Missing choices repeat the first, which they can thus never beat.
        texts = [
            {name: value[index if index < count else 0] for name, value in own.items()}
            for own, count in zip(inputs, counts, strict=True)
            for index in range(most)
        ]
        batch = {name: value.unflatten(0, (len(rows), most)) for name, value in self.pad(texts).items()}
        batch["choice_mask"] = torch.arange(most) < torch.tensor(counts).unsqueeze(-1)
        if all(FOLD in row for row in rows):
            batch[FOLD] = torch.tensor([row[FOLD] for row in rows])
        if any(name in row for row in rows for name in LABEL_COLUMNS):
            batch["labels"] = class_ids(rows, 0)
            outside = batch["labels"][batch["labels"] >= torch.tensor(counts)]
            if len(outside):
                raise DistillationError(
                    f"a label must be the index of one of its row's choices, from 0, but a row of this batch has "
                    f"{outside[0]}. Correct the label, or make it {NO_LABEL} for a row without one."
                )
        return batch


def _inputs(row: Row) -> Row:
    """Return the columns of a row that have an entry for each of its choices, checked."""
    require_tokens(row)
    inputs = {name: value for name, value in row.items() if isinstance(value, list) and name not in LABEL_COLUMNS}
    counts = {name: len(value) for name, value in inputs.items()}
    count = len(row[TOKENS.values])
    if count < 2 or not isinstance(row[TOKENS.values][0], Sequence) or {*counts.values()} - {count}:
        raise DistillationError(
            "every row needs two choices or more, each a list of token ids, and as many in its other columns, but the "
            f"lists of a row have the lengths {counts}. Tokenise the text of each choice."
        )
    return inputs


class MultipleChoice(RowTask):
    """One choice of several a row; labels are indices of choices `[batch]`, -100 = none.

    The choices of a row are texts of their own: a batch is `[batch, choices, length]`, and the head gives one number a
    text.
    """

    name = "multiple_choice"
    auto_class = AutoModelForMultipleChoice
    model_classes = MODEL_FOR_MULTIPLE_CHOICE_MAPPING
    pipeline_tag = "multiple-choice"
    answer = "categorical"
    rows = CHOICE_ROWS
    evaluation = CHOICE_EVALUATION
    loss_inputs = frozenset({"choice_mask"})
    classes_vary = True

    def num_classes(self, config: PreTrainedConfig) -> int:
        return 0  # rows may have any number of choices

    def head_width(self, config: PreTrainedConfig) -> int:
        return 1  # it scores one choice at a time

    def collator(self, tokenizer: PreTrainedTokenizerBase | None) -> Collate:
        return ChoiceCollator(tokenizer)

    def check_labels(self, dataset: Dataset, label_names: Sequence[str] | None, num_labels: int, split: str) -> None:
        """Refuse labels that are none of the row's choices; rows without a label column are left to the collator."""
        column = label_column(dataset) if is_tokenised(dataset) else None
        if column is None:
            return
        expected = "two choices or more a row, each a list of token ids"
        require_type(dataset, TOKENS.values, IDS, expected, split, depth=2, may_be_null=False)
        require_type(dataset, column, NUMBERS, "the index of a choice a row", split)
        for batch in columns_of(dataset, TOKENS.values, column):
            counts = pc.list_value_length(batch[TOKENS.values]).fill_null(0).to_numpy()
            if (counts < 2).any():
                raise DistillationError(
                    f"column {TOKENS.values!r} of the {split} data must hold {expected}, but a row has {counts.min()}. "
                    "Give every row its choices, or leave it out."
                )
            labels = batch[column].cast(pa.float64()).fill_null(NO_LABEL).to_numpy()
            outside = labels[(labels != NO_LABEL) & ~(np.isin(labels, range(counts.max())) & (labels < counts))]
            if len(outside):
                raise DistillationError(
                    f"column {column!r} of the {split} data must hold the index of one of the row's choices, from 0, "
                    f"or null or {NO_LABEL} for a row without a label, but it holds {outside[:5].tolist()}. Encode the "
                    "labels so."
                )

    def texts_a_row(self, dataset: Any, column: str = TOKENS.values) -> int:
        """Return how many choices a row has at most. Many, where no row can be read."""
        if not isinstance(dataset, Dataset) or column not in dataset.column_names:
            return MANY
        counts = (pc.list_value_length(part[column]) for part in columns_of(dataset, column))
        return max((pc.max(count).as_py() or 1 for count in counts), default=1)

    def row_shape(self, length: int) -> tuple[int, ...]:
        return (1, length)  # of one choice

    def class_mask(self, batch: Batch) -> Tensor | None:
        """Bool `[batch, choices]`: which choices a row has; None = all."""
        return batch.get("choice_mask")


MULTIPLE_CHOICE = MultipleChoice()
