"""Keys of a cache: of a row's content, and found again."""

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from distilnlp.answers.row_keys import KeyIndex, row_key
from tests.test_cache import write
from tests.tiny_tasks import task_data


def test_keys_follow_content_alone() -> None:
    rows = [
        {"input_ids": [1, 2], "attention_mask": [1, 1], "label": 0},
        {"input_ids": [1, 2], "attention_mask": [1, 1], "label": 2},
        {"input_ids": [2, 1], "attention_mask": [1, 1]},
        {"input_ids": [1, 2, 0], "attention_mask": [1, 1, 0]},
        {"input_ids": [[1], [2]], "attention_mask": [[1], [1]]},
        {"input_ids": [[1, 2]], "attention_mask": [[1, 1]]},
    ]
    keys = [row_key(row, ("attention_mask", "input_ids")) for row in rows]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 5
    assert keys[0] == row_key({name: torch.tensor(rows[0][name]) for name in rows[0]}, ("attention_mask", "input_ids"))


def test_the_index_finds_what_is_there_and_nothing_else() -> None:
    keys = np.random.default_rng(0).integers(0, 255, (500, 16), dtype=np.uint8)
    keys[1::2, :8] = keys[::2, :8]  # pairs that share their first half
    index = KeyIndex(keys[:400])
    assert index.find(keys).tolist() == [*range(400), *[-1] * 100]


def test_rows_of_equal_content_are_answered_once(tmp_path: Path) -> None:
    rows = task_data("single_label_classification", 3, 3)
    twice = Dataset.from_list([*rows.to_list(), *rows.to_list()])
    assert write(tmp_path, rows=twice).manifest.rows == 6
