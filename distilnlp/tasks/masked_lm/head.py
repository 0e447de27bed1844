"""Masked language modelling, for general distillation before any task: a masked token is an item."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerBase,
)

from distilnlp.errors import DistillationError
from distilnlp.labels import label_column, label_of
from distilnlp.losses import cross_entropy
from distilnlp.models.selected_head import logits_at
from distilnlp.signals import Batch
from distilnlp.signals.names import NO_LABEL
from distilnlp.tasks.checks import check_token_labels, is_tokenised
from distilnlp.tasks.collators import RowCollator, token_labels
from distilnlp.tasks.masked_lm.rows import MASKED_LM_ROWS
from distilnlp.tasks.masked_lm.scores import MASKED_LM_EVALUATION
from distilnlp.tasks.task import Task


class MaskingCollator:
    """Masks tokens anew in every batch (BERT, arXiv 1810.04805); rows that are masked already are only padded.

    Args:
        tokenizer: pads, and has the mask token.
        mask_probability: share of the tokens that are to be predicted.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, mask_probability: float = 0.15) -> None:
        if tokenizer is None or tokenizer.mask_token is None:
            raise DistillationError(
                "masked language modelling needs a tokenizer with a mask token, but there is none. Pass the model's "
                "own tokenizer as processing_class."
            )
        self.mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=mask_probability)
        self.pad = RowCollator(tokenizer, token_labels)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return `[batch, length]` tensors; `labels` holds the masked tokens and -100 elsewhere."""
        batch = self.pad(rows)
        if all(label_of(row) is None for row in rows):
            special = batch.pop("special_tokens_mask", None)
            batch["input_ids"], batch["labels"] = self.mask.torch_mask_tokens(batch["input_ids"], special)
        return batch


def masked_tokens(batch: Batch) -> Tensor:
    """Bool `[batch, length]`: the tokens to be predicted."""
    return batch["labels"] != NO_LABEL if "labels" in batch else torch.zeros_like(batch["input_ids"], dtype=torch.bool)


def every_masked_token(batch: Batch) -> Tensor:
    """Bool `[count]`, all True: the masked tokens in their order."""
    masked = masked_tokens(batch)
    return masked[masked]


def token_ids(batch: Batch) -> Tensor:
    """Ids of the masked tokens `[count]`."""
    return batch["labels"][masked_tokens(batch)] if "labels" in batch else batch["input_ids"].new_empty(0)


def _read_logits(outputs: Any, batch: Batch) -> Tensor:
    """Return the logits `[count, vocabulary]` of the masked tokens."""
    return logits_at(outputs.logits, masked_tokens(batch))


def _check_masked_tokens(dataset: Any, _names: Sequence[str] | None, num_labels: int, split: str) -> Any:
    """Refuse labels, in rows that are masked already, that are not one token id or -100 for each token."""
    column = label_column(dataset) if is_tokenised(dataset) else None
    if column is not None:
        fix = "Remove the column to have tokens masked anew in every batch, or give the masked tokens' own ids."
        check_token_labels(dataset, column, num_labels, split, fix)
    return dataset


MASKED_LM = Task(
    name="masked_lm",
    pipeline_tag="fill-mask",
    auto_class=AutoModelForMaskedLM,
    model_classes=MODEL_FOR_MASKED_LM_MAPPING,
    fits=lambda config: True,
    answer="categorical",
    items_are_tokens=True,
    rows=MASKED_LM_ROWS,
    evaluation=MASKED_LM_EVALUATION,
    collator=MaskingCollator,
    hard_loss=lambda logits, batch, num_items: cross_entropy(logits, token_ids(batch), num_items),
    labelled_items=every_masked_token,
    valid_items=every_masked_token,
    read_logits=_read_logits,
    item_labels=token_ids,
    head_positions=masked_tokens,
    loss_inputs=frozenset({"special_tokens_mask"}),
    collator_keys=("mask_probability",),
    num_classes=lambda config: config.vocab_size,
    align_labels=_check_masked_tokens,
    has_label_names=False,
)
