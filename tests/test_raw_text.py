"""Rows with raw text in a trainer: read as if they had been tokenised before."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from distilnlp import DistillationTrainer
from distilnlp.errors import DistillationError
from tests.conftest import tiny_arguments
from tests.tiny import tiny_model, tiny_rows, tiny_tokenizer


def trainer_on(rows: Any, folder: Path, **options: Any) -> DistillationTrainer:
    teacher = tiny_model(num_hidden_layers=2, seed=1)
    defaults: dict[str, Any] = {"teacher_model": teacher, "processing_class": tiny_tokenizer()}
    model = tiny_model(num_hidden_layers=1)
    return DistillationTrainer(
        model, args=tiny_arguments(folder, max_steps=3), train_dataset=rows, **{**defaults, **options}
    )


def encoded(rows: Dataset, length: int = 40) -> Dataset:
    tokenizer = tiny_tokenizer()
    pairs = "text_pair" in rows.column_names
    return rows.map(
        lambda batch: tokenizer(
            batch["text"], batch["text_pair"] if pairs else None, truncation=True, max_length=length
        ),
        batched=True,
    )


@pytest.mark.parametrize("is_pair", [False, True])
def test_text_is_learned_and_evaluated_as_its_tokens_are(tmp_path: Path, is_pair: bool) -> None:
    rows = tiny_rows(12, unlabelled=4)
    if is_pair:
        rows = rows.add_column("text_pair", rows["text"][::-1])
    losses = []
    for number, given in enumerate((rows, encoded(rows))):
        trainer = trainer_on(given, tmp_path / str(number), eval_dataset={"one": given})
        losses.append((trainer.train().training_loss, trainer.evaluate(given)["eval_loss"]))
        assert "input_ids" in trainer.eval_dataset["one"].column_names
    assert losses[0] == pytest.approx(losses[1])


def test_long_text_is_cut_where_a_model_reads_no_further(tmp_path: Path) -> None:
    rows = tiny_rows(4).map(lambda row: {"text": " ".join([row["text"]] * 40)})
    trainer = trainer_on(rows, tmp_path, teacher_model=tiny_model(max_position_embeddings=24, seed=1))
    assert max(map(len, trainer.train_dataset["input_ids"])) == 24
    trainer.train()


def test_a_teacher_with_a_tokenizer_of_its_own_reads_its_own_tokens(tmp_path: Path) -> None:
    other = tiny_tokenizer()
    teacher = tiny_model(max_position_embeddings=12, seed=1)
    rows = tiny_rows(8).map(lambda row: {"text": " ".join([row["text"]] * 9)})
    trainer = trainer_on(rows, tmp_path, teacher_model=teacher, teacher_processing_class=other)
    lengths = {name: max(map(len, trainer.train_dataset[name])) for name in ("input_ids", "teacher_input_ids")}
    assert lengths["teacher_input_ids"] == 12
    assert lengths["input_ids"] > 12
    assert torch.isfinite(torch.tensor(trainer.train().training_loss))


def test_text_that_cannot_be_tokenised_here_is_refused_with_the_way_out(tmp_path: Path) -> None:
    rows = tiny_rows(4)
    with pytest.raises(DistillationError, match=r"must be tokenised, but has no column 'input_ids'"):
        trainer_on(rows, tmp_path, processing_class=None)
    with pytest.raises(DistillationError, match=r"must be tokenised, but has no column 'input_ids'"):
        trainer_on(rows.rename_column("text", "review"), tmp_path)
