"""The keys of a recipe without its classes: the same as those of the classes."""

import dataclasses

import pytest
from transformers import TrainingArguments

from distilnlp.cli.recipe_keys import SECTIONS, check_flags, keys_of
from distilnlp.data import DataConfig
from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import EvaluationConfig, Recipe, StudentConfig, TeacherConfig
from distilnlp.training.arguments import DistillationTrainingArguments

CLASSES = {
    "": Recipe,
    "data": DataConfig,
    "teacher": TeacherConfig,
    "student": StudentConfig,
    "evaluation": EvaluationConfig,
    "training": DistillationTrainingArguments,
    "teacher.finetune": TrainingArguments,
    "baseline": TrainingArguments,
}


def test_every_section_is_known() -> None:
    assert CLASSES.keys() == SECTIONS.keys()


@pytest.mark.parametrize("section", SECTIONS)
def test_the_keys_are_the_fields_of_the_classes(section: str) -> None:
    of_class = CLASSES[section]
    if dataclasses.is_dataclass(of_class):
        assert keys_of(section) >= {field.name for field in dataclasses.fields(of_class) if field.init}
    else:
        assert keys_of(section) == of_class.model_fields.keys()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("traning.learning_rate", "unknown flag '--traning.learning_rate'. Did you mean '--training.learning_rate'"),
        ("training.learning_rat", "Did you mean '--training.learning_rate'"),
        ("data.txt_columns", "Did you mean '--data.text_columns'"),
        ("learning_rate", "Did you mean '--training.learning_rate'"),
        ("dryrun", "Did you mean '--dry-run'"),
        ("epochs", "The keys there are: --baseline"),
        ("", "unknown flag '--'"),
        ("a" * 100_000, "unknown flag"),
    ],
)
def test_an_unknown_flag_is_refused_with_the_near_one(flag: str, message: str) -> None:
    with pytest.raises(DistillationError, match=message) as caught:
        check_flags([flag], ["--dry-run"])
    assert len(str(caught.value)) < 600


def test_keys_of_values_are_left_to_the_sections() -> None:
    check_flags(["data.source", "training.schedules.temperature", "teacher.finetune.learning_rate", "baseline"], [])
