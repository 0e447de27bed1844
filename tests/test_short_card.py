"""The card that a trainer writes beside the model that it saves."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification

from distilnlp import DistillationTrainer, LiveTeacher
from tests.conftest import tiny_arguments, tiny_data
from tests.tiny import tiny_model, tiny_tokenizer


def trained(folder: Path, teacher: Any, **arguments: Any) -> DistillationTrainer:
    options = {"max_steps": 2, "logging_steps": 1, "save_strategy": "steps", "save_steps": 1, **arguments}
    trainer = DistillationTrainer(
        tiny_model(num_hidden_layers=1),
        teacher,
        tiny_arguments(folder, **options),
        train_dataset=tiny_data(8),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    return trainer


def test_a_saved_model_has_a_card_and_a_checkpoint_none(tmp_path: Path) -> None:
    tiny_model(num_hidden_layers=2).save_pretrained(tmp_path / "big")
    teacher = AutoModelForSequenceClassification.from_pretrained(tmp_path / "big")
    trainer = trained(tmp_path / "out", teacher, temperature=3.0)
    trainer.save_model(str(tmp_path / "small"))
    card = ModelCard.load(tmp_path / "small" / "README.md")
    assert card.data.tags == ["distilnlp", "knowledge-distillation"]
    assert card.data.pipeline_tag == "text-classification"
    for said in ("# small", "1-layer bert student", f"{tmp_path.name}/big`", "temperature 3.0", "2 steps", "soft loss"):
        assert said in card.text
    assert "(film, money, sport)" in card.text
    assert str(tmp_path) not in card.text, "where it lies on this machine is nobody's business"
    assert not list((tmp_path / "out").glob("checkpoint-*/README.md"))


def test_a_card_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    trained(tmp_path / "out", tiny_model(seed=1)).save_model(str(tmp_path))
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("teacher", "said"),
    [(None, "trained on labels alone"), (LiveTeacher(tiny_model(seed=1)), "distilled from a LiveTeacher")],
    ids=["none", "an object"],
)
def test_what_taught_is_named(tmp_path: Path, teacher: Any, said: str) -> None:
    own = {} if teacher is not None else {"soft_loss_weight": 0.0}
    trained(tmp_path / "out", teacher, **own).save_model(str(tmp_path / "m"))
    assert said in (tmp_path / "m" / "README.md").read_text()
