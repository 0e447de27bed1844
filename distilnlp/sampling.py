"""Sampling: an order of rows that depends on the seed and the epoch alone."""

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import LengthGroupedSampler


class SeededByEpoch(Sampler[int]):
    """Rows of like length together, in one order an epoch: the same on every process and after a resume.

    The sampler of transformers draws from the global random state, which dropout moves on and which a resumed epoch
    has in another place.

    Args:
        sampler: draws the order.
        seed: of the run.
        epoch: tells the epoch that begins.
    """

    def __init__(self, sampler: LengthGroupedSampler, seed: int, epoch: Callable[[], int]) -> None:
        self.sampler = sampler
        # A column of a data set looks up the row for each length that is asked for: 4 million take many minutes.
        sampler.lengths = sampler.lengths[:]
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        self.sampler.generator = torch.Generator().manual_seed(self.seed + self.epoch())
        return iter(self.sampler)
