"""Methods that look at words alone: masks, other words of the corpus, and n-grams (arXiv 1903.12136).

There one text goes through all three in turn, and gets a mask or another word, not both; here each method makes rows of
its own.
"""

from collections import Counter
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from distilnlp.augmentation.method import MethodConfig, Resources, Rewriter, Words
from distilnlp.errors import DistillationError


class MaskWordsConfig(MethodConfig):
    """Each word becomes the tokenizer's mask token with this probability."""

    name: Literal["mask_words"] = "mask_words"
    probability: float = Field(default=0.1, gt=0, le=1, description="chance of each word to be masked")

    def build(self, resources: Resources) -> Rewriter:
        """Build the method."""
        mask = str(resources.masking_tokenizer(self.name).mask_token)

        def rewrite(words: Words, generator: Generator) -> Words:
            chosen = generator.random(len(words)) < self.probability
            return [mask if is_chosen else word for word, is_chosen in zip(words, chosen, strict=True)]

        return _one_by_one(rewrite)


class ReplaceWordsConfig(MethodConfig):
    """Each word becomes another word of the corpus with this probability.

    The other word is drawn by its frequency among all rows. The paper draws among the words of the same part of speech;
    without a tagger that is not done here, so a text may lose its grammar.
    """

    name: Literal["replace_words"] = "replace_words"
    probability: float = Field(default=0.1, gt=0, le=1, description="chance of each word to be replaced")

    def build(self, resources: Resources) -> Rewriter:
        """Build the method."""
        corpus = Corpus(resources.count_words())

        def rewrite(words: Words, generator: Generator) -> Words:
            chosen = generator.random(len(words)) < self.probability
            others = corpus.draw_others(words, generator)
            return [other if is_chosen else word for word, other, is_chosen in zip(words, others, chosen, strict=True)]

        return _one_by_one(rewrite)


class SampleNgramsConfig(MethodConfig):
    """The text becomes some of its words in a row with this probability; how many is drawn uniformly.

    A text with fewer words than the upper bound is cut to what it has at most; one with fewer than the lower bound
    stays as it is.
    """

    name: Literal["sample_ngrams"] = "sample_ngrams"
    probability: float = Field(default=0.25, gt=0, le=1, description="chance of the text to be cut to an n-gram")
    min_words: int = Field(default=1, ge=1, description="fewest words of an n-gram")
    max_words: int = Field(default=5, ge=1, description="most words of an n-gram")

    @model_validator(mode="after")
    def _check_bounds(self) -> "SampleNgramsConfig":
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) must not be more than max_words ({self.max_words})")
        return self

    def build(self, resources: Resources) -> Rewriter:
        """Build the method."""

        def rewrite(words: Words, generator: Generator) -> Words:
            if generator.random() >= self.probability:
                return words
            fewest, most = (min(bound, len(words)) for bound in (self.min_words, self.max_words))
            length = generator.integers(fewest, most, endpoint=True)
            start = generator.integers(len(words) - length, endpoint=True)
            return words[start : start + length]

        return _one_by_one(rewrite)


def _one_by_one(rewrite: Callable[[Words, Generator], Words]) -> Rewriter:
    return lambda texts, generators: [
        [rewrite(words, generator) for generator in own] for words, own in zip(texts, generators, strict=True)
    ]


class Corpus:
    """Draws words by how often each occurs; a single one is refused."""

    def __init__(self, counts: Counter[str]) -> None:
        if len(counts) == 1:
            raise DistillationError(
                f"replace_words draws another word of the texts, but {next(iter(counts))!r} is their only one. Give "
                "more texts, or leave the method out."
            )
        self._words = sorted(counts)
        self._place = {word: place for place, word in enumerate(self._words)}
        self._counts = np.array([counts[word] for word in self._words], dtype=np.int64)
        self._ends = self._counts.cumsum()

    def draw_others(self, words: Words, generator: Generator) -> Words:
        """Draw for each word one that differs from it. Each of the words must be one of the corpus."""
        places = [self._place[word] for word in words]
        own = self._counts[places]
        # Words lie side by side, each as wide as its count. A word's own width is left out of what is drawn from.
        drawn = generator.integers(self._ends[-1] - own)
        drawn += np.where(drawn >= self._ends[places] - own, own, 0)
        return [self._words[place] for place in np.searchsorted(self._ends, drawn, side="right")]
