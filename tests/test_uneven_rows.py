"""Rows that processes cannot share evenly: accelerate repeats some, and these count nothing. In float64, to 1e-12."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, SequentialSampler

from distilnlp.signals import REPEATED
from distilnlp.training.sampling import own_rows, without_repeated
from tests.distributed_uneven import TRAININGS, weights_after
from tests.tiny_tasks import task_student
from tests.two_processes import in_two_processes

LAUNCH_TIMEOUT = 240  # against a hang: it takes about thirty seconds
ARGS: Any = SimpleNamespace(dataloader_drop_last=False)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The weights that two processes end with; one launch serves every test."""
    out = tmp_path_factory.mktemp("two") / "uneven.pt"
    return in_two_processes("tests.distributed_uneven", out, LAUNCH_TIMEOUT)


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_end_where_one_does(name: str, two_processes: dict[str, Any], tmp_path: Path) -> None:
    assert "error" not in two_processes[name], two_processes[name]
    alone, start = weights_after(name, 1, tmp_path), task_student(TRAININGS[name][0]).double().state_dict()
    for key, value in alone.items():
        assert (value - two_processes[name][key]).abs().max() < 1e-12, key
    assert max((value - start[key]).abs().max() for key, value in alone.items()) > 1e-3, "nothing was learned"


@pytest.mark.parametrize("processes", [2, 3, 5])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("skips", [False, True])
def test_every_row_counts_once_however_many_there_are(processes: int, split: bool, skips: bool) -> None:
    """`skips`: of a loader that skipped batches, as after a resume, accelerate does not know what it repeats."""
    size = 4 * processes if split else 4
    for count in range(1, 45):
        seen: Counter[int] = Counter()
        for index in range(processes):
            sampler = BatchSampler(SequentialSampler(range(count)), size, drop_last=False)
            batches = list(BatchSamplerShard(sampler, processes, index, split_batches=split))
            remainder = -1 if skips else count % (4 * processes)
            loader = SimpleNamespace(dataset=range(count))
            state = SimpleNamespace(end_of_dataloader=True, remainder=remainder, active_dataloader=loader)
            shard: Any = SimpleNamespace(num_processes=processes, process_index=index, gradient_state=state)
            last = without_repeated({"ids": batches[-1]}, own_rows(shard, {"ids": batches[-1]}, ARGS))
            seen.update(row for batch in batches[:-1] for row in batch)
            seen.update([] if REPEATED in last else last["ids"])
        assert seen == dict.fromkeys(range(count), 1), count


def test_a_batch_without_a_row_of_its_own_keeps_one_that_is_marked() -> None:
    batch = without_repeated({"ids": torch.arange(6).view(3, 2)}, 0)
    assert batch["ids"].tolist() == [[0, 1]]
    assert batch[REPEATED].tolist() == [True]
