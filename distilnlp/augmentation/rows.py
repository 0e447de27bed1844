"""From rows of text to new rows of text."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from datasets import Dataset, Features
from numpy.random import default_rng
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.augmentation.entries import METHODS, parse_augmentation
from distilnlp.augmentation.method import MethodConfig, Rewriter, Setting
from distilnlp.data.columns import is_text, require_column
from distilnlp.data.rows import TEXT, TEXT_PAIR
from distilnlp.errors import DistillationError

ROWS_AT_A_TIME = 1000
SEEDS = 2**32  # a seed may be anything from 0 to below this
Texts = tuple[str, ...]


def augment(
    rows: Dataset,
    methods: Sequence[Mapping[str, Any] | MethodConfig],
    *,
    text_columns: Sequence[str] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    masked_lm: PreTrainedModel | None = None,
    seed: int = 0,
) -> Dataset:
    """Make new rows of text, without labels, for the teacher to label (arXiv 1903.12136, 1909.10351).

    Every method rewrites every row `copies` times; in a pair each text is rewritten for itself. A word is what stands
    between white space: a language that is written without it has one word a text, and little comes of it. Words of a
    new text have one space between them. New rows that have the words of an original, or of one another, are left out;
    so there may be fewer than `copies`.

    What is drawn for a row depends on the seed, the method's place in the list, the row's own and the copy alone. So
    the first rows of a data set are rewritten in the same way without the others; but for `replace_words`, which draws
    from the words of all rows, and for rows left out. `replace_with_masked_lm` depends on the batch size only where
    rounding decides which words are the likeliest.

    Args:
        rows: texts; other columns are not looked at.
        methods: entries of the list `augmentation`, such as `{"name": "mask_words", "copies": 10}`.
        text_columns: columns to rewrite; None = `text`, and `text_pair` where there is one.
        tokenizer: whose mask token `mask_words` writes into the text, so teacher and student must both know it; for
            `replace_with_masked_lm` the model's own.
        masked_lm: the model behind `replace_with_masked_lm`.
        seed: from 0 to below 2**32.

    Returns:
        The new rows alone, with the text columns alone, in the order of methods, rows and copies.

    Raises:
        DistillationError: a method is unknown or its settings unfit, or it lacks a tokenizer or model; a column is
            missing or not text; a text is empty; the seed is out of bounds.
    """
    configs = parse_augmentation(methods)
    if not 0 <= seed < SEEDS:
        raise DistillationError(f"seed must be from 0 to below 2**32, but it is {seed}. Choose another.")
    texts = _texts_of(rows, text_columns)
    setting = Setting(tokenizer, masked_lm, partial(_count_words, texts))
    rewriters = [METHODS[config.name].build(config, setting) for config in configs]
    seen, new = {_same_spaces(own) for own in _read(texts)}, list[Texts]()
    for place, (config, rewrite) in enumerate(zip(configs, rewriters, strict=True)):
        for own in _rewritten(texts, config, rewrite, (seed, place)):
            if own not in seen:
                seen.add(own)
                new.append(own)
    columns = {name: [own[index] for own in new] for index, name in enumerate(texts.column_names)}
    return Dataset.from_dict(columns, features=Features(texts.features))


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
    for row, own in enumerate(_read(texts)):
        for name, text in zip(names, own, strict=True):
            if not (text and text.strip()):
                raise DistillationError(
                    f"every text must have a word, but row {row} (counted from 0) has {text!r} in {name!r}. Leave such "
                    "rows out."
                )
    return texts


def _read(texts: Dataset) -> Iterator[Texts]:
    """Yield the texts of each row."""
    for batch in texts.iter(batch_size=ROWS_AT_A_TIME):
        yield from zip(*(batch[name] for name in texts.column_names), strict=True)


def _same_spaces(texts: Texts) -> Texts:
    return tuple(" ".join(text.split()) for text in texts)


def _count_words(texts: Dataset) -> Counter[str]:
    return Counter(word for own in _read(texts) for text in own for word in text.split())


def _rewritten(texts: Dataset, config: MethodConfig, rewrite: Rewriter, seeds: tuple[int, int]) -> Iterator[Texts]:
    """Yield the texts of every copy of every row."""
    for start in tqdm(range(0, len(texts), ROWS_AT_A_TIME), desc=f"Augmenting: {config.name}", leave=False):
        batch = texts[start : start + ROWS_AT_A_TIME]
        count = len(batch[texts.column_names[0]])
        generators = [
            [default_rng((*seeds, row, copy)) for copy in range(config.copies)] for row in range(start, start + count)
        ]
        # The texts of a pair draw one after the other from the same generators, so they are rewritten differently.
        columns = [rewrite([text.split() for text in batch[name]], generators) for name in texts.column_names]
        for copies_of_columns in zip(*columns, strict=True):
            for copy in zip(*copies_of_columns, strict=True):
                yield tuple(" ".join(words) for words in copy)
