"""What a method of augmentation is: its settings, what it is built for, and what it then does to texts."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numpy.random import Generator
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import DistillationError
from distilnlp.validation import Section

Words = list[str]

# Takes texts and, for each of them, one generator for each copy; returns the rewritten copies of each text.
Rewriter = Callable[[Sequence[Words], Sequence[Sequence[Generator]]], list[list[Words]]]


@dataclass(frozen=True)
class Resources:
    """What a method may need beside the texts; `count_words` counts the words of all rows."""

    tokenizer: PreTrainedTokenizerBase | None
    masked_lm: PreTrainedModel | None
    count_words: Callable[[], Counter[str]]

    def masking_tokenizer(self, method: str) -> PreTrainedTokenizerBase:
        """Return the tokenizer, or refuse that there is none or that it has no mask token."""
        if self.tokenizer is None:
            raise DistillationError(f"{method} needs a tokenizer with a mask token, but got none. Pass `tokenizer`.")
        if self.tokenizer.mask_token is None:
            raise DistillationError(
                f"{method} needs a tokenizer with a mask token, but this {type(self.tokenizer).__name__} has none. "
                "Choose the tokenizer of a masked language model, or leave the method out."
            )
        return self.tokenizer


class MethodConfig(Section, ABC):
    """One entry of the list `augmentation`: a method by name, with its settings. Every method extends it."""

    name: str = Field(description="name of the method")
    probability: float = Field(gt=0, le=1, description="chance of a change: of each word, or of the whole text")
    copies: int = Field(
        default=1, ge=1, description="how often each row is rewritten; rows that come out like another are left out"
    )

    @abstractmethod
    def build(self, resources: Resources) -> Rewriter:
        """Build what rewrites texts.

        Raises:
            DistillationError: a tokenizer, a model or texts that it needs are missing, or do not fit.
        """
