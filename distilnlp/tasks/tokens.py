"""Token classification: a word is an item, and its first piece stands for it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoModelForTokenClassification

from distilnlp.data import TOKEN_ROWS
from distilnlp.errors import DistillationError
from distilnlp.evaluation import TOKEN_EVALUATION
from distilnlp.labels import NO_LABEL, label_column
from distilnlp.losses import cross_entropy
from distilnlp.signals import Batch, token_mask
from distilnlp.tasks.checks import check_marks, check_token_labels, is_tokenised
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
    if not is_tokenised(dataset):
        return dataset
    check_marks(dataset, "word_starts", split)
    column = label_column(dataset)
    if column is None:
        return dataset
    own = getattr(getattr(dataset.features[column], "feature", None), "names", None)
    if own and names and list(own) != list(names):
        raise DistillationError(
            f"the tags of the {split} data are {own}, but the student's are {list(names)}: their ids mean other tags. "
            "Encode the tags in the order of the student's id2label."
        )
    fix = f"Give the first piece of each word its tag, in the order of the model's id2label, and the others {NO_LABEL}."
    check_token_labels(dataset, column, num_labels, split, fix)
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
