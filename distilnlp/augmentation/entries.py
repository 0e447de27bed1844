"""The list `augmentation`: which methods can be named, with which settings, and how each is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

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
from distilnlp.errors import DistillationError, did_you_mean
from distilnlp.validation import Section, parse_section


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


class Named(Section):
    """What every entry of `augmentation` has, whichever method it is."""

    model_config = ConfigDict(extra="ignore")

    name: str


def parse_augmentation(entries: Sequence[Mapping[str, Any] | MethodConfig]) -> list[MethodConfig]:
    """Validate the list `augmentation`. A method may be named more than once, with other settings.

    Raises:
        DistillationError: an unknown method or key, or an unfit value.
    """
    methods = []
    for index, entry in enumerate(entries):
        where = f"augmentation[{index}]"
        values = entry.model_dump() if isinstance(entry, MethodConfig) else entry
        name = parse_section(Named, values, where).name
        if name not in METHODS:
            known = sorted(METHODS)
            raise DistillationError(f"{where} names no method: {name!r}.{did_you_mean(name, known)} Known: {known}.")
        methods.append(parse_section(METHODS[name].config, values, where))
    return methods
