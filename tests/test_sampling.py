"""Sampling: the order of rows follows the seed and the epoch, whatever else draws random numbers."""

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION
from distilnlp.training.sampling import SeededByEpoch
from tests.tiny import tiny_tokenizer

LENGTHS = [3, 9, 4, 8, 5, 7, 6, 2] * 8


def order(epoch: int, seed: int = 0, batch_size: int = 4) -> list[int]:
    return list(SeededByEpoch(LengthGroupedSampler(batch_size, lengths=LENGTHS), seed, lambda: epoch))


def test_an_epoch_has_one_order_whatever_was_drawn_before() -> None:
    first = order(epoch=1)
    torch.rand(100)
    assert order(epoch=1) == first
    assert sorted(first) == list(range(len(LENGTHS)))


def test_epochs_and_seeds_have_their_own_orders() -> None:
    assert order(epoch=0) != order(epoch=1)
    assert order(epoch=0, seed=5) != order(epoch=0)


def test_rows_of_like_length_share_a_batch() -> None:
    batches = torch.tensor([LENGTHS[index] for index in order(epoch=0)]).view(-1, 4).float()
    assert batches.std(dim=1).mean() < 0.5 * torch.tensor(LENGTHS).float().std()


def test_a_batch_whose_first_row_has_no_label_key_keeps_the_others() -> None:
    tokenizer = tiny_tokenizer()
    rows = [dict(tokenizer("the film")), {**tokenizer("a stock market"), "label": 2}]
    assert SINGLE_LABEL_CLASSIFICATION.collator(tokenizer)(rows)["labels"].tolist() == [-100, 2]
