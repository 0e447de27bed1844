"""Sampling: an order of rows that depends on the seed and the epoch alone, and rows that processes repeat."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Sampler
from transformers import TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from distilnlp.signals import REPEATED

logger = logging.getLogger(__name__)


class SeededByEpoch(Sampler[int]):
    """Rows of like length together, in one order an epoch: the same on every process and after a resume.

    The sampler of transformers draws from the global random state, which dropout moves on and which a resumed epoch
    has in another place. This one asks `epoch` for the epoch that begins.
    """

    def __init__(self, sampler: LengthGroupedSampler, seed: int, epoch: Callable[[], int]) -> None:
        self.sampler, self.seed, self.epoch = sampler, seed, epoch
        # A column of a data set looks up the row for each length that is asked for: 4 million take many minutes.
        sampler.lengths = sampler.lengths[:]

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        self.sampler.generator = torch.Generator().manual_seed(self.seed + self.epoch())
        return iter(self.sampler)


# ---- Rows that are repeated ----
# Several processes need as many batches each, and as many rows in each, so accelerate fills the last ones of an epoch
# with rows from its beginning. One process sees every row once, and so must they.


def own_rows(accelerator: Accelerator, batch: Mapping[str, Tensor], args: TrainingArguments) -> int:
    """Return how many rows of the batch that a data loader has just given are not repeated; they come first."""
    rows, state = len(next(iter(batch.values()))), accelerator.gradient_state
    if accelerator.num_processes == 1 or args.dataloader_drop_last or not state.end_of_dataloader:
        return rows
    remainder = state.remainder
    if remainder < 0:  # of a loader that skipped batches, accelerate does not know
        try:
            remainder = len(state.active_dataloader.dataset) % (rows * accelerator.num_processes)
        except TypeError:
            logger.warning(
                "the rows of a stream cannot be counted where every process reads it (dispatch_batches=False): those "
                "that fill the last batch of an epoch are repeated and count twice. Give a data set that has a length."
            )
            return rows
    return rows if remainder == 0 else min(max(remainder - rows * accelerator.process_index, 0), rows)


def without_repeated(batch: Mapping[str, Any], own: int) -> dict[str, Any]:
    """Return a batch of its own rows alone, the first; without any, of one that is marked and does not count."""
    if own == len(next(iter(batch.values()))):
        return dict(batch)
    if own:
        return {name: value[:own] for name, value in batch.items()}
    kept = {name: value[:1] for name, value in batch.items()}
    device = next((value.device for value in kept.values() if isinstance(value, Tensor)), None)
    return {**kept, REPEATED: torch.ones(1, dtype=torch.bool, device=device)}
