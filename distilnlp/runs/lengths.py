"""What a model and its tokenizer can read, and whether they belong together."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import DistillationError
from distilnlp.models.shapes import longest_readable

DEFAULT_LENGTH = 256  # tokens
SAMPLE_TEXTS = 200
MOST_CHARACTERS = 20  # of a token, as a mean
MOST_UNKNOWN = 0.3  # share of the tokens; text of the model's own language has hardly any


def longest_text(model: PreTrainedModel) -> int:
    """Return how many tokens a model has positions for."""
    return longest_readable(model) or sys.maxsize


def readable_length(
    asked: int | None, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, key: str = "data.max_length"
) -> int:
    """Return the length that a recipe's key gives, or where it gives none 256 or what model and tokenizer read.

    Raises:
        DistillationError: a longer one than the model reads was asked for, or the tokenizer is not the model's.
    """
    _check_tokenizer(tokenizer, model)
    limit = longest_text(model)
    length = min(DEFAULT_LENGTH, limit, tokenizer.model_max_length) if asked is None else asked
    if length > limit:
        raise DistillationError(
            f"{key} must be at most {limit}, the longest text that the model reads, but it is {asked}. Lower it."
        )
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if length <= special + 1:
        raise DistillationError(
            f"{key} must leave room for text beside the {special} special tokens of a pair, but it is {length}. Raise "
            "it."
        )
    return length


def misfits(tokenizer: PreTrainedTokenizerBase, length: int, texts: Iterable[str]) -> Iterator[str]:
    """Say where texts are longer than a tokenizer is made for, and where it does not know their words.

    Args:
        tokenizer: of a model.
        length: where its texts are cut, in tokens.
        texts: some of them.
    """
    if length > tokenizer.model_max_length:
        yield (
            f"texts are cut after {length} tokens, as asked, but the tokenizer of {tokenizer.name_or_path} says that "
            f"its model was made for {tokenizer.model_max_length}; without max_length they are cut there"
        )
    sample = list(islice(texts, SAMPLE_TEXTS))
    options: Any = {"add_special_tokens": False, "truncation": True, "max_length": length}
    # Cut before: a tokenizer reads all of a text and then drops what is too long.
    ids = [tokenizer(text[: MOST_CHARACTERS * length], **options)["input_ids"] for text in sample]
    tokens = sum(map(len, ids))
    unknown = sum(row.count(tokenizer.unk_token_id) for row in ids)
    if unknown > MOST_UNKNOWN * tokens:
        share = round(100 * unknown / tokens)
        yield (
            f"to the tokenizer of {tokenizer.name_or_path} {share}% of the tokens of {len(sample)} texts are unknown; "
            "is it the model's own, and of this language?"
        )


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    vocab_size: int = getattr(model.config, "vocab_size", len(tokenizer))  # CANINE hashes characters: it has none
    is_empty = len(tokenizer) <= len(tokenizer.all_special_ids)  # what transformers makes up where a folder has none
    if len(tokenizer) > vocab_size or tokenizer.pad_token is None or is_empty:
        raise DistillationError(
            f"the tokenizer must fit the model, but it has {len(tokenizer)} tokens and the pad token "
            f"{tokenizer.pad_token!r}, and the model has {vocab_size} embeddings. Put the model's own tokenizer into "
            "its folder."
        )
