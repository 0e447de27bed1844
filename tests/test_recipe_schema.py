"""The schema of a recipe, by which the command line knows its keys without the classes: the same as the classes."""

import dataclasses
import json

import pytest
from pydantic import BaseModel
from transformers import TrainingArguments

from distilnlp.cli.flags import recipe_keys
from distilnlp.data import DataConfig
from distilnlp.export import ExportConfig
from distilnlp.recipe.schema import FILE, recipe_schema
from distilnlp.recipe.sections import EvaluationConfig, PushConfig, Recipe, StudentConfig, TeacherConfig
from distilnlp.training.arguments import DistillationTrainingArguments

SECTIONS: dict[str, type[BaseModel]] = {
    "export": ExportConfig,
    "push_to_hub": PushConfig,
    "data": DataConfig,
    "teacher": TeacherConfig,
    "student": StudentConfig,
    "evaluation": EvaluationConfig,
}
ARGUMENTS = {
    "training": DistillationTrainingArguments,
    "baseline": TrainingArguments,
    "teacher.finetune": TrainingArguments,
}


def keys_of(section: str) -> set[str]:
    """Return the keys below a section, of one level."""
    below = [key.removeprefix(f"{section}.") for key in recipe_keys() if key.startswith(f"{section}.")]
    return {key for key in below if "." not in key}


def test_the_file_is_the_schema_of_the_classes() -> None:
    assert json.loads(FILE.read_text(encoding="utf-8")) == json.loads(json.dumps(recipe_schema())), (
        "write it again: python -m distilnlp.recipe.schema"
    )


def test_every_key_is_known() -> None:
    top = {key for key in recipe_keys() if "." not in key}
    assert top | {*SECTIONS, "training"} == Recipe.model_fields.keys()


@pytest.mark.parametrize("section", SECTIONS)
def test_the_keys_of_a_section_are_the_fields_of_its_class(section: str) -> None:
    assert keys_of(section) == SECTIONS[section].model_fields.keys()


@pytest.mark.parametrize("section", ARGUMENTS)
def test_the_arguments_of_a_training_are_known(section: str) -> None:
    assert keys_of(section) >= {field.name for field in dataclasses.fields(ARGUMENTS[section]) if field.init}


def test_every_key_of_our_own_says_what_it_is() -> None:
    inherited = {f"{section}.{field.name}" for section in ARGUMENTS for field in dataclasses.fields(TrainingArguments)}
    own = {key: kind for key, kind in recipe_keys().items() if key not in inherited}
    assert [key for key, kind in own.items() if not kind.get("description")] == []
