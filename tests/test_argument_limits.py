"""What training arguments may be: every number has a range, every choice its values."""

import math
import pickle
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from transformers import TrainingArguments

from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import load_recipe
from distilnlp.training.argument_limits import CHOICES, LIMITS, checked_argument
from distilnlp.training.arguments import DistillationTrainingArguments
from tests.conftest import tiny_arguments

LEAST = {"output": "out", "teacher.model": "teacher", "data.source": "train.csv"}


def test_every_number_of_the_trainer_has_a_range() -> None:
    hints = get_type_hints(DistillationTrainingArguments)
    numbers = {name for name, hint in hints.items() if {int, float} & {hint, *get_args(hint)} and name[0] != "_"}
    fields = DistillationTrainingArguments.__dataclass_fields__
    assert (numbers & fields.keys()) <= LIMITS.keys()
    assert LIMITS.keys() | CHOICES.keys() <= fields.keys()


def test_the_defaults_are_within_the_limits() -> None:
    for name, field in TrainingArguments.__dataclass_fields__.items():
        if name in LIMITS.keys() | CHOICES.keys() and field.init and not callable(field.default_factory):
            checked_argument(TrainingArguments, name, field.default)


REFUSED: list[tuple[str, Any]] = [
    ("max_steps", 0),
    ("max_steps", 10**15),
    ("num_train_epochs", 1e18),
    ("temperature", 1e300),
    ("neftune_noise_alpha", -5),
    ("train_sampling_strategy", "bogus"),
    ("max_grad_norm", math.nan),
    ("max_grad_norm", -1),
    ("logging_steps", math.nan),
    ("save_steps", 0),
    ("save_total_limit", -3),
    ("dataloader_num_workers", 10**6),
    ("learning_rate", math.inf),
    ("per_device_train_batch_size", 0),
    ("log_level", "loud"),
    ("adam_beta1", 1),
    ("temperature", True),
    ("num_train_epochs", True),
    ("logging_steps", False),
    ("optim_args", "nonsense"),
    ("optim_args", "betas=1=2"),
    ("optim_args", "rank=1,"),
    ("ddp_timeout", 10**20),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_out_of_range_is_refused_in_recipes_and_in_python(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=f"'training' does not fit: {name} = "):
        load_recipe(None, {**LEAST, f"training.{name}": value})
    with pytest.raises(DistillationError, match=f"{name} = "):
        tiny_arguments(tmp_path, **{name: value})


def test_a_recipe_learns_something() -> None:
    with pytest.raises(DistillationError, match="learning_rate = 0: nothing would be learned"):
        load_recipe(None, {**LEAST, "training.learning_rate": 0})


@pytest.mark.parametrize(("name", "value"), [("eval_strategy", "stepps"), ("optim", "adam"), ("eval_strategy", False)])
def test_a_choice_is_one_of_the_enum(name: str, value: Any) -> None:
    with pytest.raises(DistillationError, match=f"{name} = .*Input should be '"):
        load_recipe(None, {**LEAST, f"training.{name}": value})


def test_the_words_of_yaml_are_words(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "output: out\nteacher: {model: t, finetune: yes}\ndata: {source: d}\nbaseline: off\n"
        "training: {teacher_cache: off, eval_strategy: no, save_strategy: no, logging_strategy: no, report_to: none}\n"
    )
    loaded = load_recipe(file)
    assert (loaded.teacher.finetune, loaded.baseline) == (True, False)
    assert loaded.training["teacher_cache"] == "off"
    assert loaded.training["eval_strategy"] == loaded.training["save_strategy"] == "no"
    assert not any(isinstance(value, Enum) for value in loaded.training.values())  # it is written as YAML


@pytest.mark.parametrize("value", ["on", True, "yes"])
def test_a_cache_that_is_merely_on_is_refused(value: Any) -> None:
    with pytest.raises(DistillationError, match=r"teacher_cache = .*give auto, off, or a folder"):
        load_recipe(None, {**LEAST, "training.teacher_cache": value})
    assert load_recipe(None, {**LEAST, "training.teacher_cache": False}).training == {"teacher_cache": "off"}


def test_a_missing_package_or_file_is_no_traceback(tmp_path: Path) -> None:
    from distilnlp.recipe.defaults import build_arguments

    for values in ({"deepspeed": str(tmp_path / "none.json")}, {"accelerator_config": str(tmp_path / "none.json")}):
        with pytest.raises(DistillationError, match="do not fit together"):
            build_arguments(values, 0, tmp_path)


def test_tokens_are_not_pickled_beside_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_fromtheenvironment123")
    arguments = tiny_arguments(tmp_path, hub_token="hf_givenbythecaller12345")
    assert arguments.hub_token == "hf_givenbythecaller12345"
    written = pickle.dumps(arguments)
    assert b"hf_" not in written
    assert pickle.loads(written).hub_token is None
    assert "hf_givenby" not in arguments.to_json_string()
