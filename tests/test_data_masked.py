"""Rows for masked language modelling: whole for training, masked once and for all for evaluation."""

from pathlib import Path

import pytest
from datasets import Dataset

from distilnlp.data import evaluation_split, labelled_rows
from distilnlp.errors import DistillationError
from distilnlp.tasks import MASKED_LM_ROWS
from tests.test_data import config, prepare, write
from tests.tiny import tiny_rows, tiny_tokenizer


def encode(rows: Dataset, for_evaluation: bool, max_length: int = 40, **options: float) -> Dataset:
    own = config(**options)
    return MASKED_LM_ROWS.encode(rows, tiny_tokenizer(), max_length, "", config=own, for_evaluation=for_evaluation)


def texts(count: int = 400) -> Dataset:
    return tiny_rows(count).select_columns(["text"])


def test_training_rows_are_whole_and_say_where_special_tokens_are() -> None:
    rows = texts(5)
    encoded = encode(rows, for_evaluation=False, max_length=6)
    columns = ["input_ids", "token_type_ids", "attention_mask", "special_tokens_mask", "length"]
    assert encoded.column_names == columns
    for row, text in zip(encoded, rows["text"], strict=True):
        assert tiny_tokenizer().decode(row["input_ids"][1:-1]).split() == text.split()[:4]  # long texts are cut
        assert row["special_tokens_mask"] == [1, *[0] * (row["length"] - 2), 1]


def test_evaluation_rows_are_masked_as_in_bert() -> None:
    plain, masked = encode(texts(), False), encode(texts(), True, mask_probability=0.3)
    assert set(masked.column_names) == {"input_ids", "token_type_ids", "attention_mask", "labels", "length"}
    mask_id, kept, replaced, random, all_tokens = tiny_tokenizer().mask_token_id, 0, 0, 0, 0
    for before, after in zip(plain, masked, strict=True):
        for old, new, label, special in zip(
            before["input_ids"], after["input_ids"], after["labels"], before["special_tokens_mask"], strict=True
        ):
            assert label == -100 or (label == old and not special)
            assert label != -100 or new == old
            all_tokens += not special
            kept += label != -100 and new == old
            replaced += label != -100 and new == mask_id
            random += label != -100 and new not in (mask_id, old)
    chosen = kept + replaced + random
    assert chosen / all_tokens == pytest.approx(0.3, abs=0.04)
    assert replaced / chosen == pytest.approx(0.8, abs=0.05)
    assert random / chosen == pytest.approx(0.1, abs=0.04)


def test_masks_follow_the_seed_and_not_the_other_rows() -> None:
    rows = texts(30)
    first = encode(rows, True)[:]
    assert encode(rows, True)[:] == first
    assert encode(rows, True, seed=1)["labels"] != first["labels"]
    assert encode(rows.select(range(7)), True)["labels"] == first["labels"][:7]
    assert len({tuple(label != -100 for label in row) for row in encode(texts(30), True)["labels"]}) > 5


def test_a_share_of_all_rows_is_held_out(tmp_path: Path) -> None:
    source = write(tmp_path, "lines.txt", "\n".join(f"the film {index}" for index in range(10)))
    data = prepare(MASKED_LM_ROWS, source, test_size=0.3)
    assert (len(data.train), len(data.labelled), len(data.test), data.label_names) == (7, 7, 3, [])
    assert data.train.column_names == ["text"]
    assert len(labelled_rows(encode(data.train, False), MASKED_LM_ROWS)) == 7


def test_test_splits_need_no_labels_and_label_columns_are_no_text(tmp_path: Path) -> None:
    source = {
        "train": write(tmp_path, "a.csv", "sentence,label\na film,x\n"),
        "test": write(tmp_path, "b.txt", "a\nb\n"),
    }
    with pytest.raises(DistillationError, match=r"names the column 'sentence', but the data has \['text'\]"):
        prepare(MASKED_LM_ROWS, source)
    source["test"] = write(tmp_path, "b.csv", "sentence,label\na bank,x\n\n")
    data = prepare(MASKED_LM_ROWS, source, unlabelled=[write(tmp_path, "c.txt", "a plot\n")])
    assert (data.train["text"], data.test["text"]) == (["a film", "a plot"], ["a bank"])
    assert evaluation_split(config(source), MASKED_LM_ROWS, [])["text"] == ["a bank"]


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(DistillationError, match="needs a tokenizer with a mask token"):
        MASKED_LM_ROWS.encode(texts(2), tokenizer, 10, "", config=config())


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_the_share_of_masks_is_a_share(share: float) -> None:
    with pytest.raises(DistillationError, match=r"data\.mask_probability"):
        config(mask_probability=share)
