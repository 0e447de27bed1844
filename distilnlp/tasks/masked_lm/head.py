"""Masked language modelling, for general distillation before any task: a masked token is an item."""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from distilnlp.errors import DistillationError
from distilnlp.labels import label_column, label_of
from distilnlp.models.selected_head import logits_at
from distilnlp.signals import NO_LABEL, Batch
from distilnlp.tasks.collators import Row, RowCollator, token_labels
from distilnlp.tasks.column_checks import check_token_labels, is_tokenised
from distilnlp.tasks.masked_lm.rows import MASKED_LM_ROWS
from distilnlp.tasks.masked_lm.scores import MASKED_LM_EVALUATION
from distilnlp.tasks.task import Collate, Task

MASKED_SHARE = 0.15  # of the tokens, as in BERT


class MaskingCollator:
    """Masks tokens anew in every batch (BERT, arXiv 1810.04805); rows that are masked already are only padded.

    Args:
        tokenizer: pads, and has the mask token.
        mask_probability: share of the tokens that are to be predicted.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, mask_probability: float = MASKED_SHARE) -> None:
        if tokenizer is None or tokenizer.mask_token is None:
            raise DistillationError(
                "masked language modelling needs a tokenizer with a mask token, but there is none. Pass the model's "
                "own tokenizer as processing_class."
            )
        self.mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=mask_probability)
        self.pad = RowCollator(tokenizer, token_labels)

    def __call__(self, rows: list[Row]) -> dict[str, Tensor]:
        """Return `[batch, length]` tensors; `labels` holds the masked tokens and -100 elsewhere."""
        batch = self.pad(rows)
        if all(label_of(row) is None for row in rows):
            special = batch.pop("special_tokens_mask", None)
            batch["input_ids"], batch["labels"] = self.mask.torch_mask_tokens(batch["input_ids"], special)
        return batch


class MaskedLM(Task):
    """The tokens that were masked; labels are their ids `[batch, length]`, -100 elsewhere; logits `[count, ids]`."""

    name = "masked_lm"
    auto_class = AutoModelForMaskedLM
    model_classes = MODEL_FOR_MASKED_LM_MAPPING
    pipeline_tag = "fill-mask"
    answer = "categorical"
    rows = MASKED_LM_ROWS
    evaluation = MASKED_LM_EVALUATION
    pipeline_options = ""
    must_be_named = True
    collator_keys = ("mask_probability",)
    loss_inputs = frozenset({"special_tokens_mask"})
    item_marks = frozenset({"labels"})
    items_are_tokens = True
    draws_its_items = True
    classes_are_tokens = True

    def num_classes(self, config: PreTrainedConfig) -> int:
        return config.vocab_size

    def head_positions(self, batch: Batch) -> Tensor:
        """Bool `[batch, length]`: the tokens to be predicted."""
        if "labels" not in batch:
            return torch.zeros_like(batch[self.modality.values], dtype=torch.bool)
        return batch["labels"] != NO_LABEL

    def read_logits(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the logits `[count, vocabulary]` of the masked tokens."""
        return logits_at(outputs.logits, self.head_positions(batch))

    def collator(self, tokenizer: PreTrainedTokenizerBase | None, mask_probability: float = MASKED_SHARE) -> Collate:
        return MaskingCollator(tokenizer, mask_probability)

    def check_labels(self, dataset: Dataset, label_names: Sequence[str] | None, num_labels: int, split: str) -> None:
        """Refuse labels, in rows that are masked already, that are not one token id or -100 for each token."""
        column = label_column(dataset) if is_tokenised(dataset) else None
        if column is not None:
            fix = "Remove the column to have tokens masked anew in every batch, or give the masked tokens' own ids."
            check_token_labels(dataset, column, num_labels, split, fix)

    def valid_items(self, batch: Batch) -> Tensor:
        """Bool `[count]`, all True: the masked tokens in their order."""
        masked = self.head_positions(batch)
        return masked[masked]

    def labelled_items(self, batch: Batch) -> Tensor:
        """Bool `[count]`, all True: a masked token has a label."""
        return self.valid_items(batch)

    def item_labels(self, batch: Batch) -> Tensor:
        """Ids of the masked tokens `[count]`."""
        if "labels" not in batch:
            return batch[self.modality.values].new_empty(0)
        return batch["labels"][self.head_positions(batch)]


MASKED_LM = MaskedLM()
