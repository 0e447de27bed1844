"""The words that student and teacher both read, where their tokenizers cut them into other pieces."""

from dataclasses import dataclass

from torch import Tensor

from distilnlp.losses.reduction import at_least_float32, ignore_masked
from distilnlp.signals import TEACHER, WORD_IDS, Batch, token_mask, under


@dataclass(frozen=True)
class CommonWords:
    """The words that both encodings of a batch have; each stands where the student's first piece of it is.

    Attributes:
        mask: bool `[texts, length]`, True where a word stands.
        student: bool `[texts, length, length]`, the student's pieces of each word.
        teacher: bool `[texts, length, teacher's length]`, the teacher's.
    """

    mask: Tensor
    student: Tensor
    teacher: Tensor

    @staticmethod
    def pooled(states: Tensor, pieces: Tensor) -> Tensor:
        """Average one side's states over its pieces of each word, in float32 at least: `[texts, length, width]`."""
        states = ignore_masked(at_least_float32(states), pieces.any(dim=1))
        return pieces.to(states.dtype) @ states / pieces.sum(dim=-1, keepdim=True).clamp(min=1)


def common_words(batch: Batch) -> CommonWords | None:
    """Return the words that student and teacher both have, by `word_ids` of both; None where one of them is missing."""
    if not {WORD_IDS, TEACHER + WORD_IDS} <= batch.keys():
        return None
    own, other = _numbers(batch), _numbers(under(TEACHER, batch))
    mine, its = (own.unsqueeze(-1) == side.unsqueeze(-2) for side in (own, other))
    is_first = ~mine.tril(-1).any(dim=-1)
    mask = (own >= 0) & is_first & its.any(dim=-1)
    return CommonWords(mask, mine & mask.unsqueeze(-1), its & mask.unsqueeze(-1))


def _numbers(batch: Batch) -> Tensor:
    """Return the number of each piece's word `[texts, length]`, -1 = none."""
    return batch[WORD_IDS].flatten(0, -2).masked_fill(~token_mask(batch), -1)
