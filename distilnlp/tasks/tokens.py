"""Token classification: a word is an item, and its first piece stands for it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor
from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoModelForTokenClassification

from distilnlp.data import TOKEN_ROWS
from distilnlp.errors import DistillationError
from distilnlp.evaluation import TOKEN_EVALUATION
from distilnlp.labels import NO_LABEL, label_column
from distilnlp.losses import cross_entropy
from distilnlp.signals import Batch, token_mask
from distilnlp.tasks.collators import RowCollator, token_labels
from distilnlp.tasks.task import Task


def labelled_words(batch: Batch) -> Tensor:
    """Bool `[batch, length]`: True at the pieces that have a label."""
    if "labels" not in batch:
        return torch.zeros_like(token_mask(batch))
    return batch["labels"] != NO_LABEL


def words(batch: Batch) -> Tensor:
    """Bool `[batch, length]`: True at the first piece of every word, whether it has a label or not.

    Rows that come without `word_starts` count the pieces with a label, or every real token if they have no label.
    """
    if "word_starts" in batch:
        return batch["word_starts"].bool()
    labelled = labelled_words(batch)
    return torch.where(labelled.any(dim=-1, keepdim=True), labelled, token_mask(batch))


def _check_tags(dataset: Any, names: Sequence[str] | None, num_labels: int, split: str) -> Any:
    """Refuse label ids that are none of the model's, and rows whose labels are not one a token."""
    column = label_column(dataset)
    if column is None or "input_ids" not in dataset.column_names:
        return dataset
    own = getattr(getattr(dataset.features[column], "feature", None), "names", None)
    if own and names and list(own) != list(names):
        raise DistillationError(
            f"the tags of the {split} data are {own}, but the student's are {list(names)}: their ids mean other tags. "
            "Encode the tags in the order of the student's id2label."
        )
    for batch in dataset.with_format("arrow").iter(batch_size=10_000):
        lengths, own = pc.list_value_length(batch["input_ids"]), pc.list_value_length(batch[column])
        ids = pc.unique(pc.list_flatten(batch[column])).drop_null().to_numpy(zero_copy_only=False)
        unknown = ids[(ids != NO_LABEL) & ((ids < 0) | (ids >= num_labels))]
        if pc.any(pc.not_equal(lengths, own)).as_py():
            raise DistillationError(
                f"column {column!r} of the {split} data must hold one label for each token of `input_ids`, but some "
                "rows have another number of them. Label the first piece of each word and give every other piece -100."
            )
        if len(unknown):
            raise DistillationError(
                f"column {column!r} of the {split} data must hold label ids from 0 to {num_labels - 1}, or {NO_LABEL} "
                f"for tokens that do not count, but it holds {np.sort(unknown)[:5].tolist()}. Encode the tags in the "
                "order of the model's id2label."
            )
    return dataset


TOKEN_CLASSIFICATION = Task(
    name="token_classification",
    pipeline_tag="token-classification",
    auto_class=AutoModelForTokenClassification,
    model_classes=MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    fits=lambda config: config.num_labels > 1,
    answer="categorical",
    items_are_tokens=True,
    rows=TOKEN_ROWS,
    evaluation=TOKEN_EVALUATION,
    collator=lambda tokenizer: RowCollator(tokenizer, token_labels),
    hard_loss=lambda logits, batch, num_items: cross_entropy(logits, batch["labels"], num_items),
    labelled_items=labelled_words,
    valid_items=words,
    item_labels=lambda batch: batch.get("labels"),
    loss_inputs=frozenset({"word_starts"}),
    align_labels=_check_tags,
)
