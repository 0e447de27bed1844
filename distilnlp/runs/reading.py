"""How a model reads normalised rows: by its tokenizer, cut after a number of tokens."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from distilnlp.data import DataConfig
from distilnlp.data.parts import numbers_of
from distilnlp.evaluation import TextLength
from distilnlp.tasks import Task

UNCUT = 10**9  # tokens: more than any text has


class Reading(NamedTuple):
    """The rows of an evaluation as one model reads them: tokenised, what makes batches, how much is read of them."""

    rows: Dataset
    collate: Any
    text: TextLength


@dataclass(frozen=True)
class Reader:
    """Reads rows for a model.

    Attributes:
        task: of the model.
        config: the recipe's `data` section.
        tokenizer: of the model.
        max_length: of its texts, in tokens.
    """

    task: Task
    config: DataConfig
    tokenizer: PreTrainedTokenizerBase
    max_length: int

    def encode(self, rows: Dataset, desc: str, for_evaluation: bool = False, **options: Any) -> Dataset:
        """Tokenise normalised rows; see `RowFormat.encode`."""
        options |= {"config": self.config, "for_evaluation": for_evaluation}
        return self.task.rows.encode(rows, self.tokenizer, self.max_length, desc, **options)

    @cached_property
    def collate(self) -> Any:
        """The task's collator, with what the recipe says for it; a tokenizer that the task cannot use is refused."""
        return self.task.collator(self.tokenizer, **{key: getattr(self.config, key) for key in self.task.collator_keys})

    def read(self, rows: Dataset, encoded: Dataset | None = None) -> Reading:
        """Return the reading of normalised rows for an evaluation; `encoded`, if they are tokenised already."""
        if encoded is None:
            encoded = self.encode(rows, "Tokenising", for_evaluation=True)
        if self.task.rows.are_windows:  # read to the end, in windows
            return Reading(encoded, self.collate, TextLength(max_length=self.max_length, cut=None))
        whole = self.task.rows.encode(rows, self.tokenizer, UNCUT, "Counting tokens", config=self.config)
        cut = float((numbers_of(whole, "length") > self.max_length).mean())
        return Reading(encoded, self.collate, TextLength(max_length=self.max_length, cut=cut))


def same_vocabulary(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers give the same ids for the same text, as far as their vocabularies and marks tell."""

    def rules(tokenizer: PreTrainedTokenizerBase) -> tuple[Any, ...]:
        return type(tokenizer), tokenizer.get_vocab(), tokenizer.special_tokens_map

    return first is second or rules(first) == rules(second)
