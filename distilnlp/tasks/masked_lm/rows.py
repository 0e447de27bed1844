"""Rows of plain text for masked language modelling: their own words are the labels."""

from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset, Value
from numpy.typing import NDArray
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerBase

from distilnlp.data import Columns, DataConfig, Layout, Part, Types, map_in_parts
from distilnlp.errors import DistillationError
from distilnlp.signals import TEXT, TEXT_PAIR
from distilnlp.tasks.text_rows import TextRows


class MaskedLMRows(TextRows):
    """Tokenised for training: `special_tokens_mask`, masked anew in every batch. For evaluation: masked already.

    Masked as in BERT (arXiv 1810.04805): of the chosen tokens 80% become the mask token, 10% any token, 10% stay.
    """

    task = "masked language modelling"
    needs_labels = False
    features: ClassVar[Types] = {TEXT: Value("string"), TEXT_PAIR: Value("string")}
    own_keys = frozenset({"mask_probability"})

    def read_labels(self, part: Part, layout: Layout, inputs: Columns, survey: None) -> Columns:
        return {}

    def is_labelled(self, rows: Dataset) -> NDArray[np.bool_]:
        return np.ones(len(rows), dtype=np.bool_)

    def encode(
        self,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        desc: str,
        *,
        config: DataConfig,
        for_evaluation: bool = False,
        **options: Any,
    ) -> Dataset:
        """Tokenise; long texts are cut. Each evaluation row has a mask of its own, the same for every model."""
        if tokenizer.mask_token is None:
            raise DistillationError(
                f"masked language modelling needs a tokenizer with a mask token, but this {type(tokenizer).__name__} "
                "has none. Choose the tokenizer of a masked language model."
            )
        encoded = super().encode(rows, tokenizer, max_length, desc, config=config, return_special_tokens_mask=True)
        return _mask(encoded, tokenizer, config, desc) if for_evaluation else encoded


def _mask(rows: Dataset, tokenizer: PreTrainedTokenizerBase, config: DataConfig, desc: str) -> Dataset:
    masker = DataCollatorForLanguageModeling(tokenizer, mlm_probability=config.mask_probability)

    def mask(batch: Columns, numbers: list[int]) -> Columns:
        masked: Columns = {"input_ids": [], "labels": []}
        for ids, special, number in zip(batch["input_ids"], batch["special_tokens_mask"], numbers, strict=True):
            # A seed a row, so that a row's mask does not depend on the rows before it.
            masker.generator = masker.get_generator(config.seed + number)
            made = masker.torch_mask_tokens(torch.tensor([ids]), special_tokens_mask=torch.tensor([special]))
            for column, values in zip(masked.values(), made, strict=True):
                column.append(values[0].tolist())
        return masked

    return map_in_parts(rows, mask, with_indices=True, remove_columns=["special_tokens_mask"], desc=desc)


MASKED_LM_ROWS = MaskedLMRows()
