"""The words of a text, which are the same to every tokenizer: runs of characters without white space between them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from distilnlp.data.parts import map_in_parts
from distilnlp.data.rows import require_fast
from distilnlp.signals.names import TEXT, TEXT_PAIR, WORD_IDS


def word_numbers(encoded: Any, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[NDArray[np.int32]]:
    """Return for each piece of each text the number of its word, from 0; -1 = none, as for special tokens.

    A word is a run of characters without white space between them, so that the numbers mean the same words for every
    tokenizer. The words of a second text come after those of the first. A piece that reaches into several words belongs
    to the first of them.

    Args:
        encoded: what a fast tokenizer gave for these texts, one row each.
        texts: as the tokenizer got them.
        pairs: the second texts, if there are any.
    """
    rows = zip(texts, pairs, strict=True) if pairs is not None else ((text,) for text in texts)
    return [
        words_of_pieces(one.offsets, one.sequence_ids, row) for one, row in zip(encoded.encodings, rows, strict=True)
    ]


def words_of_pieces(offsets: Any, parts: Sequence[int | None], texts: Sequence[str]) -> NDArray[np.int32]:
    """Return the word of each piece of one row.

    Args:
        offsets: `[pieces, 2]`, the first character of each piece in its text and the one after its last.
        parts: which text a piece is of, from 0; None = of none.
        texts: of the row.
    """
    spans, owners = np.asarray(offsets).reshape(-1, 2), np.asarray([-1 if part is None else part for part in parts])
    words, before = np.full(len(owners), -1, dtype=np.int32), 0
    for part, text in enumerate(texts):
        # With one white space behind: an offset may be the end of the text.
        is_space = np.asarray([character.isspace() for character in text] + [True])
        begun = np.cumsum(~is_space & np.concatenate([[True], is_space[:-1]]))
        solid = np.concatenate([[0], np.cumsum(~is_space)])
        first, end = spans[owners == part].T
        number = begun[first] - ~is_space[first]  # of the character's own word, or of the next one
        words[owners == part] = np.where(solid[end] > solid[first], number + before, -1)
        before += begun[-1]
    return words


def add_words(encoded: Dataset, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return tokenised texts, or pairs of texts, with the column `word_ids`.

    Args:
        encoded: what `encode_texts` made of the rows.
        rows: normalised.
        tokenizer: that read them.
        max_length: with which it did.
    """
    require_fast(tokenizer, "a loss on the states of words")
    texts = rows.select_columns([name for name in (TEXT, TEXT_PAIR) if name in rows.column_names])

    def number(batch: dict[str, list[str]]) -> dict[str, Any]:
        read = tokenizer(batch[TEXT], batch.get(TEXT_PAIR), truncation=True, max_length=max_length)
        return {WORD_IDS: word_numbers(read, batch[TEXT], batch.get(TEXT_PAIR))}

    numbered = map_in_parts(texts, number, remove_columns=texts.column_names, desc="Numbering words")
    return concatenate_datasets([encoded, numbered], axis=1)


def first_pieces(words: Sequence[int]) -> NDArray[np.int8]:
    """Return 1 for every token that is the first of a word, else 0.

    Args:
        words: the index of each token's word, -1 = none.
    """
    first = np.zeros(len(words), dtype=np.int8)
    first[np.unique(words, return_index=True)[1]] = 1
    return first * (np.asarray(words) >= 0)
