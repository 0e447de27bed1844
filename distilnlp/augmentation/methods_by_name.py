"""The list `augmentation`: which methods can be named. What each takes and how it is built, its config says."""

from collections.abc import Mapping, Sequence

from distilnlp.augmentation.masked_lm import ReplaceWithMaskedLMConfig
from distilnlp.augmentation.method import MethodConfig
from distilnlp.augmentation.word_methods import MaskWordsConfig, ReplaceWordsConfig, SampleNgramsConfig
from distilnlp.validation import Entries

ENTRIES: Entries[MethodConfig] = Entries(
    "method", MaskWordsConfig | ReplaceWordsConfig | SampleNgramsConfig | ReplaceWithMaskedLMConfig
)
METHODS = ENTRIES.by_name


def parse_augmentation(entries: Sequence[Mapping[str, object] | MethodConfig]) -> list[MethodConfig]:
    """Validate the list `augmentation`. A method may be named more than once, with other settings.

    Raises:
        DistillationError: an unknown method or key, or an unfit value.
    """
    return [ENTRIES.parse(entry, f"augmentation[{index}]") for index, entry in enumerate(entries)]
