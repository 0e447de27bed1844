"""What the rows of all tasks have in common that read one text or a pair."""

from dataclasses import replace
from typing import Any, ClassVar

from datasets import Dataset, Value, concatenate_datasets
from transformers import PreTrainedTokenizerBase

from distilnlp.data import (
    DataConfig,
    Layout,
    RowFormat,
    Types,
    candidates,
    find_text_columns,
    is_text,
    map_in_parts,
    require_fast,
    word_numbers,
)
from distilnlp.signals import LABEL, TEXT, TEXT_PAIR, WORD_IDS


class TextRows(RowFormat):
    """Normalised: `text` and, for pairs, `text_pair`. Tokenised: the inputs of a model, the labels kept."""

    are_texts = True
    inputs = (TEXT, TEXT_PAIR)
    features: ClassVar[Types] = {TEXT: Value("string"), TEXT_PAIR: Value("string"), LABEL: Value("int64")}

    def find_layout(self, dataset: Dataset, config: DataConfig, label: str) -> Layout:
        """Return the named text columns, or the only one."""
        layout = Layout(find_text_columns(dataset, config.text_columns, label), label)
        self.check_layout(dataset, layout)
        return layout

    def unlabelled_layout(self, dataset: Dataset, layout: Layout) -> Layout | None:
        """Return the same columns, or the only text column: a plain text file always calls it `text`."""
        if set(layout.texts) <= set(dataset.column_names):
            return layout
        own = candidates(dataset, is_text, (TEXT,), {layout.label, *layout.answers})
        return replace(layout, texts=tuple(own)) if len(own) == len(layout.texts) == 1 else None

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
        """Tokenise, with further options of the tokenizer; of a pair the longer text is cut first."""

        def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
            encoded = tokenizer(batch[TEXT], batch.get(TEXT_PAIR), truncation=True, max_length=max_length, **options)
            return {**encoded, "length": list(map(len, encoded["input_ids"]))}

        texts = [name for name in self.inputs if name in rows.column_names]
        return map_in_parts(rows, encode, remove_columns=texts, desc=desc)

    def with_words(
        self, encoded: Dataset, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Dataset:
        """Return the rows with `word_ids`, of texts or pairs of texts."""
        require_fast(tokenizer, "a loss on the states of words")
        texts = rows.select_columns([name for name in (TEXT, TEXT_PAIR) if name in rows.column_names])

        def number(batch: dict[str, list[str]]) -> dict[str, Any]:
            read = tokenizer(batch[TEXT], batch.get(TEXT_PAIR), truncation=True, max_length=max_length)
            return {WORD_IDS: word_numbers(read, batch[TEXT], batch.get(TEXT_PAIR))}

        numbered = map_in_parts(texts, number, remove_columns=texts.column_names, desc="Numbering words")
        return concatenate_datasets([encoded, numbered], axis=1)
