"""From rows of text to new rows of text."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.random import default_rng
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.augmentation.method import MethodConfig, Resources, Rewriter
from distilnlp.augmentation.methods_by_name import parse_augmentation
from distilnlp.data import is_text, map_in_parts, require_column, values_of
from distilnlp.errors import DistillationError
from distilnlp.models.identity import weights_fingerprint
from distilnlp.signals import TEXT, TEXT_PAIR

SEEDS = 2**32  # a seed may be anything from 0 to below this
Texts = tuple[str, ...]


def augment(
    rows: Dataset,
    methods: Sequence[Mapping[str, object] | MethodConfig],
    *,
    text_columns: Sequence[str] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    masked_lm: PreTrainedModel | None = None,
    seed: int = 0,
) -> Dataset:
    """Make new rows of text, without labels, for the teacher to label (arXiv 1903.12136, 1909.10351).

    Every method rewrites every row `copies` times; in a pair each text is rewritten on its own. A word is what stands
    between white space: a language that is written without it has one word a text, so these methods do little for it.
    Words of a new text have one space between them. New rows that have the words of an original, or of one another, are
    left out; so there may be fewer than `copies`.

    What is drawn for a row depends on the seed, the method's place in the list, the row's own and the copy alone. So
    the first rows of a data set are rewritten in the same way without the others; except with `replace_words`, which
    draws from the words of all rows, and except for rows left out. `replace_with_masked_lm` depends on the batch size
    only where rounding decides which words are the likeliest.

    Args:
        rows: texts; other columns are not looked at.
        methods: entries of the list `augmentation`, such as `{"name": "mask_words", "copies": 10}`.
        text_columns: columns to rewrite; None = `text`, and `text_pair` where there is one.
        tokenizer: whose mask token `mask_words` writes into the text, so teacher and student must both know it; for
            `replace_with_masked_lm` the model's own.
        masked_lm: the model behind `replace_with_masked_lm`.
        seed: from 0 to below 2**32.

    Returns:
        The new rows alone, with the text columns alone, in the order of methods, rows and copies; in a file, if `rows`
        are in files.

    Raises:
        DistillationError: a method is unknown or its settings unfit, or it lacks a tokenizer or model; a column is
            missing or not text; a text is empty; the seed is out of bounds.
    """
    configs = parse_augmentation(methods)
    if not 0 <= seed < SEEDS:
        raise DistillationError(f"seed must be from 0 to below 2**32, but it is {seed}. Choose another.")
    texts = _texts_of(rows, text_columns)

    def count_words() -> Counter[str]:
        return Counter(word for own in values_of(texts, *texts.column_names) for text in own for word in text.split())

    resources = Resources(tokenizer, masked_lm, count_words)
    rewriters = [config.build(resources) for config in configs]
    if not (configs and len(texts)):
        return texts.select(range(0))
    model = None if masked_lm is None else weights_fingerprint(masked_lm)
    parts = [
        _rewritten(texts, config, rewrite, (seed, place), key=[config, seed, place, tokenizer, model])
        for place, (config, rewrite) in enumerate(zip(configs, rewriters, strict=True))
    ]
    made = concatenate_datasets(parts)
    return made.select(_new(made, texts))


def _texts_of(rows: Dataset, wanted: Sequence[str] | None) -> Dataset:
    """Return the text columns alone, checked."""
    names = [TEXT, *[name for name in (TEXT_PAIR,) if name in rows.column_names]] if wanted is None else list(wanted)
    if not names:
        raise DistillationError("text_columns must name the columns to rewrite, but it is empty. Name one.")
    for name in names:
        require_column(rows, name, "text_columns")
        if not is_text(rows.features[name]):
            raise DistillationError(
                f"text column {name!r} must hold text, but it holds {rows.features[name]}. Set text_columns."
            )
    texts = rows.with_format(None).select_columns(names)
    for row, own in enumerate(values_of(texts, *names)):
        for name, text in zip(names, own, strict=True):
            if not (text and text.strip()):
                raise DistillationError(
                    f"every text must have a word, but row {row} (counted from 0) has {text!r} in {name!r}. Leave such "
                    "rows out."
                )
    return texts


def _same_spaces(texts: Texts) -> Texts:
    return tuple(" ".join(text.split()) for text in texts)


def _rewritten(texts: Dataset, config: MethodConfig, rewrite: Rewriter, seeds: tuple[int, int], key: object) -> Dataset:
    """Return the copies of every row, without those that equal the row itself or another copy."""
    names = texts.column_names

    def rewrite_part(batch: Mapping[str, list[str]], numbers: list[int]) -> dict[str, list[str]]:
        generators = [[default_rng((*seeds, row, copy)) for copy in range(config.copies)] for row in numbers]
        # The texts of a pair draw one after the other from the same generators, so they are rewritten differently.
        columns = [rewrite([text.split() for text in batch[name]], generators) for name in names]
        new: list[Texts] = []
        for row, copies_of_columns in enumerate(zip(*columns, strict=True)):
            copies = [tuple(" ".join(words) for words in copy) for copy in zip(*copies_of_columns, strict=True)]
            own = _same_spaces(tuple(batch[name][row] for name in names))
            new += [copy for copy in dict.fromkeys(copies) if copy != own]
        return {name: [copy[index] for copy in new] for index, name in enumerate(names)}

    return map_in_parts(
        texts,
        rewrite_part,
        key=key,
        with_indices=True,
        remove_columns=names,
        features=texts.features,
        desc=f"Augmenting: {config.name}",
    )


def _new(made: Dataset, texts: Dataset) -> NDArray[np.int64]:
    """Return the numbers of the rows that have the words neither of an original nor of a row before them."""
    keys, originals = (
        # Hashes of 64 bits instead of the texts: that two texts have one is unlikely, and costs no more than a row.
        np.fromiter((hash(_same_spaces(own)) for own in values_of(rows, *texts.column_names)), dtype=np.int64)
        for rows in (made, texts)
    )
    first = np.sort(np.unique(keys, return_index=True)[1])
    return first[~np.isin(keys[first], originals)]
