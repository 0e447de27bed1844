"""What is the Trainer's own stays so: no attribute of it is hidden by one of ours but those that are meant to be."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer, trainer
from transformers.integrations import integration_utils

from distilnlp import DistillationTrainer
from distilnlp.training import trainer as ours
from tests.conftest import tiny_arguments, tiny_data, tiny_student, tiny_teacher
from tests.tiny import tiny_tokenizer

# Methods and class attributes that stand in for the Trainer's; each calls it, or does what its docstring says.
METHODS = {
    "compute_loss",
    "create_model_card",
    "evaluation_loop",
    "get_batch_samples",
    "get_eval_dataloader",
    "get_test_dataloader",
    "log",
    "loss_is_scaled_for_ga",
    "prediction_step",
    "push_to_hub",
    "train",
    "_get_dataloader",
    "_get_train_sampler",
    "_inner_training_loop",
    "_load_optimizer_and_scheduler",
    "_prepare_for_training",
    "_save",
    "_save_checkpoint",
    "_save_optimizer_and_scheduler",
    "_set_signature_columns_if_needed",
    "save_model",
}
# Attributes of the Trainer that an instance of ours sets anew, to what the Trainer makes of them.
ATTRIBUTES = {
    "data_collator",
    "eval_dataset",
    "model",
    "model_accepts_loss_kwargs",
    "model_wrapped",
    "train_dataset",
    "_signature_columns",
}


def names_of_the_trainer() -> set[str]:
    """Everything that the Trainer has, or that it and its integrations read or set on one."""
    source = inspect.getsource(trainer) + inspect.getsource(integration_utils)
    return {*dir(Trainer), *re.findall(r"(?:self|trainer)\.(\w+)", source)}


def test_no_method_of_the_trainer_is_hidden_by_accident() -> None:
    own = {name for name in vars(DistillationTrainer) if not name.startswith("__")}
    assert own & names_of_the_trainer() == METHODS


def test_no_attribute_of_the_trainer_is_hidden_by_accident() -> None:
    set_by_us = set(re.findall(r"self\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(ours)))
    set_by_us |= {name for pair in re.findall(r"self\.(\w+), self\.(\w+) = ", inspect.getsource(ours)) for name in pair}
    assert "distillation_objective" in set_by_us
    assert set_by_us & names_of_the_trainer() == ATTRIBUTES


def test_an_instance_has_all_that_a_trainer_has(tmp_path: Path) -> None:
    options: Any = {"train_dataset": tiny_data(), "processing_class": tiny_tokenizer()}
    plain = Trainer(tiny_student(), tiny_arguments(tmp_path), **options)
    own = DistillationTrainer(tiny_student(), tiny_teacher(), tiny_arguments(tmp_path), **options)
    assert vars(plain).keys() <= vars(own).keys()
    for name, value in vars(plain).items():
        if name not in ATTRIBUTES and isinstance(value, bool | int | float | str):
            assert getattr(own, name) == value, name


@pytest.mark.parametrize("searched", ["learning_rate", "temperature"])
def test_hyperparameter_search_returns_the_best_run(searched: str, tmp_path: Path) -> None:
    values = {"learning_rate": [1e-2, 0.0], "temperature": [8.0, 1.0]}[searched]
    seen: list[float] = []

    def space(trial: Any) -> dict[str, float]:
        return {searched: trial.suggest_categorical(searched, values)}

    class Watching(DistillationTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(self.distillation_objective.temperature())
            return super().compute_loss(*args, **kwargs)

    searching = Watching(
        None,
        tiny_teacher(),
        tiny_arguments(tmp_path, max_steps=3),
        train_dataset=tiny_data(12),
        eval_dataset=tiny_data(12),
        processing_class=tiny_tokenizer(),
        model_init=lambda: tiny_student(),
    )
    best: Any = searching.hyperparameter_search(backend="optuna", n_trials=2, direction="minimize", hp_space=space)
    assert best.objective == pytest.approx(best.objective)
    assert best.hyperparameters[searched] in values
    if searched == "temperature":
        assert set(seen) <= {*values}
