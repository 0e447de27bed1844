"""The list `augmentation`: which methods can be named, with which settings, and how each is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilnlp.augmentation.masked_lm import ReplaceWithMaskedLMConfig, build_replace_with_masked_lm
from distilnlp.augmentation.method import MethodConfig, Rewriter, Setting
from distilnlp.augmentation.words import (
    MaskWordsConfig,
    ReplaceWordsConfig,
    SampleNgramsConfig,
    build_mask_words,
    build_replace_words,
    build_sample_ngrams,
)
from distilnlp.validation import known_name, parse_section


@dataclass(frozen=True)
class Entry:
    """What a name in the list `augmentation` stands for.

    Attributes:
        config: the settings that it takes.
        build: `(config, setting) -> Rewriter`.
    """

    config: type[MethodConfig]
    build: Callable[[Any, Setting], Rewriter]


METHODS: dict[str, Entry] = {
    "mask_words": Entry(MaskWordsConfig, build_mask_words),
    "replace_words": Entry(ReplaceWordsConfig, build_replace_words),
    "sample_ngrams": Entry(SampleNgramsConfig, build_sample_ngrams),
    "replace_with_masked_lm": Entry(ReplaceWithMaskedLMConfig, build_replace_with_masked_lm),
}


def parse_augmentation(entries: Sequence[Mapping[str, Any] | MethodConfig]) -> list[MethodConfig]:
    """Validate the list `augmentation`. A method may be named more than once, with other settings.

    Raises:
        DistillationError: an unknown method or key, or an unfit value.
    """
    methods = []
    for index, entry in enumerate(entries):
        where = f"augmentation[{index}]"
        values = entry.model_dump() if isinstance(entry, MethodConfig) else entry
        name = known_name(values, where, METHODS, "method")
        methods.append(parse_section(METHODS[name].config, values, where))
    return methods
