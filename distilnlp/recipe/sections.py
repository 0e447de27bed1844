"""Recipes: YAML, with every key overridable, checked against the sections below before anything runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator
from transformers import TrainingArguments

from distilnlp.augmentation import parse_augmentation
from distilnlp.data import DataConfig
from distilnlp.errors import did_you_mean, shown
from distilnlp.export.config import ExportConfig
from distilnlp.metrics import MetricConfig
from distilnlp.recipe.reserved import RESERVED_ARGUMENTS
from distilnlp.recipe.text import recipe_values
from distilnlp.students import LayerStrategy
from distilnlp.tasks import TASKS, task_named
from distilnlp.teachers.ensemble import Average, relative_weights
from distilnlp.teachers.given import Form
from distilnlp.training.argument_limits import checked_argument, known_arguments
from distilnlp.training.arguments import DistillationTrainingArguments
from distilnlp.validation import ONE_OR_MORE, PathOrName, Section, one_message, parse_section


def check_arguments(values: Mapping[str, object], arguments: type[TrainingArguments]) -> dict[str, Any]:
    """Return the values in the types of the fields of an arguments class.

    Raises:
        ValueError: an unknown or reserved name, or a value of another type or out of range.
    """
    known = known_arguments(arguments)
    checked = {}
    for name, value in values.items():
        if name in RESERVED_ARGUMENTS:
            raise ValueError(f"{name} is decided by the runner; {RESERVED_ARGUMENTS[name]}")
        if name not in known:
            raise ValueError(f"{shown(name)} is not an argument of {arguments.__name__}.{did_you_mean(name, known)}")
        checked[name] = checked_argument(arguments, name, value)
    if checked.get("learning_rate") == 0:  # in Python it keeps a model as it is, for a test
        raise ValueError("learning_rate = 0: nothing would be learned")
    return checked


def _check_names(value: str | list[str] | None) -> str | list[str] | None:
    names = [value] if isinstance(value, str) else value
    if names is not None and (not names or not all(names) or len(set(names)) < len(names)):
        raise ValueError
    return value


OwnArguments = Annotated[
    bool | dict[str, Any],
    AfterValidator(
        lambda value: value if value in (True, False) else check_arguments(value, TrainingArguments) or True
    ),
]
DIFFERENT = AfterValidator(_check_names), one_message("expected one name, or a list of different ones")


class TeacherConfig(Section):
    """What the student learns from: a large model, several of them, or answers that stand in the data."""

    model: Annotated[PathOrName | list[PathOrName] | None, *DIFFERENT] = Field(
        default=None,
        description="local folder or Hub id of a fine-tuned model, or of an encoder to fine-tune first; several are an "
        "ensemble, and the student is cut from the first",
    )
    average: Average = Field(
        default="probabilities", description="an ensemble answers with the mean of its `probabilities` or its `logits`"
    )
    weights: list[float] | None = Field(
        default=None, description="what each model of an ensemble counts; null = all the same"
    )
    by_confidence: bool = Field(
        default=False, description="an ensemble's model counts more for a text the more certain it is"
    )
    column: Annotated[str | list[str] | None, *DIFFERENT] = Field(
        default=None,
        description="instead of a model: the column of the data that holds the answers, or one column a label, in the "
        "order of data.label_names",
    )
    form: Form = Field(
        default="probabilities",
        description="what the column holds: `probabilities`, `log_probabilities`, `logits` (regression: the score) or "
        "`top_k`",
    )
    finetune: OwnArguments = Field(
        default=False,
        description="fine-tune it on the labelled rows first: true, or arguments of TrainingArguments to set",
    )

    text_columns: list[str] | None = Field(
        default=None,
        min_length=1,
        description="columns that it reads, where it knows more than its student will: one text, two texts, or a text "
        "and what describes it; null = data.text_columns",
    )
    max_length: int | None = Field(
        default=None, ge=2, description="its texts are cut after this many tokens; null = data.max_length"
    )
    folds: int | None = Field(
        default=None,
        ge=2,
        description="fine-tune this many teachers, each without one fold of the labelled rows, which it then answers",
    )

    @property
    def models(self) -> list[str]:
        """The models, in order; none where the answers stand in a column."""
        return [self.model] if isinstance(self.model, str) else self.model or []

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold the answers, if they stand in the data."""
        return (self.column,) if isinstance(self.column, str) else tuple(self.column or ())

    @model_validator(mode="after")
    def _check_kind(self) -> "TeacherConfig":
        kept = {"column", "form"} if self.columns else {"model", "finetune", "text_columns", "max_length", "folds"}
        kept |= {"average", "weights", "by_confidence"} if len(self.models) > 1 else set()
        others = sorted(key for key, value in self if value != type(self).model_fields[key].default and key not in kept)
        kind = "a column of answers" if self.columns else "several models" if len(self.models) > 1 else "one model"
        if bool(self.models) == bool(self.columns):
            raise ValueError("give model, or column if the answers stand in the data: one of the two")
        if others:
            raise ValueError(f"{', '.join(others)} means nothing for {kind}: remove it")
        if self.folds is not None and (not self.finetune or len(self.models) > 1):
            raise ValueError("folds are fine-tuned here from one model: give one and finetune: true, or remove folds")
        if len(self.models) > 1:
            relative_weights(self.weights, len(self.models))
        return self


class StudentConfig(Section):
    """The small model: some of the teacher's layers, narrower or with fewer pieces perhaps, or a model of its own."""

    model: PathOrName | None = Field(
        default=None, description="local folder or Hub id of a small pretrained model, instead of a cut teacher"
    )
    num_layers: int | None = Field(default=None, ge=1, description="its depth; null = half of the teacher's layers")
    layers: list[int] | None = Field(default=None, description="the teacher's layers to keep, counted from 0")
    layer_strategy: LayerStrategy = Field(default="uniform", description="which layers num_layers keeps")
    model_type: str | None = Field(default=None, description="distilbert turns a BERT teacher into DistilBERT's form")
    hidden_size: int | None = Field(default=None, ge=1, description="its width; null = the teacher's")
    num_attention_heads: int | None = Field(default=None, ge=1, description="heads of a layer; null = the teacher's")
    intermediate_size: int | None = Field(
        default=None, ge=1, description="neurons of a feed-forward network; null = the teacher's"
    )
    trim_vocabulary: bool = Field(default=False, description="keep only the pieces that the training texts need")

    @property
    def changes_width(self) -> bool:
        """Whether anything but the depth is cut."""
        return any((self.hidden_size, self.num_attention_heads, self.intermediate_size))

    @model_validator(mode="after")
    def _check_shape(self) -> "StudentConfig":
        if self.num_layers is not None and self.layers is not None:
            raise ValueError("give num_layers or layers, not both")
        if self.layers is not None and self.layer_strategy != "uniform":
            raise ValueError("layer_strategy chooses for num_layers: remove it, or layers")
        defaults = type(self).model_fields
        others = sorted(key for key, value in self if key != "model" and value != defaults[key].default)
        if self.model is not None and others:
            raise ValueError(f"model is a model of its own, which is not cut: remove {', '.join(others)} or model")
        return self


class EvaluationConfig(Section):
    """What is measured at the end."""

    bootstrap_resamples: int = Field(default=1000, ge=100, description="resamples behind the 95% intervals")
    speed: bool = Field(default=True, description="measure latency and throughput")
    metrics: list[MetricConfig] = Field(
        default_factory=list,
        description="further `evaluate` metrics: a local folder or a name of the Hub each, or a mapping with `name`",
    )

    @field_validator("metrics", mode="before")
    @classmethod
    def _as_entries(cls, value: Any) -> Any:
        entries = value if isinstance(value, list) else [value]
        return [{"name": entry} if isinstance(entry, str) else entry for entry in entries]


class PushConfig(Section):
    """Where the student goes on the Hub when all else is done."""

    enabled: bool = Field(default=False, description="push the student, its graphs, card, recipe, results and report")
    repo_id: str | None = Field(
        default=None, description="`name` or `owner/name` of the repository; null = the last part of output"
    )
    private: bool = Field(default=False, description="make the repository private, if it is made")
    revision: str | None = Field(default=None, description="branch; null = main")
    licence: str | None = Field(
        default=None, description="of the student, for its card, as apache-2.0; null = that of the teacher's card"
    )


class Recipe(Section):
    """All of a run. `training` holds every argument of DistillationTrainingArguments."""

    output: PathOrName = Field(min_length=1, description="folder of the run")
    task: str | None = Field(
        default=None,
        description="what is distilled: " + ", ".join(TASKS) + ", or a short name such as ner, qa, "
        "multi-label, mlm; null = what a finished teacher's head is for, or "
        "single_label_classification",
    )
    teacher: TeacherConfig
    data: DataConfig
    student: StudentConfig = StudentConfig()
    training: dict[str, Any] = Field(
        default_factory=dict, description="arguments of DistillationTrainingArguments: the objective and the training"
    )
    baseline: OwnArguments = Field(
        default=False,
        description="also train the same student on the labels alone: true, or arguments that differ from `training`",
    )
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    push_to_hub: PushConfig = PushConfig()
    trust_remote_code: Annotated[list[PathOrName], ONE_OR_MORE] = Field(
        default_factory=list,
        description="models and metrics of this recipe, as it names them, whose own Python code may run",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of every stage")

    @model_validator(mode="after")
    def _check_models(self) -> "Recipe":
        names = [*self.teacher.models, *filter(None, (self.student.model, self.data.augmentation_model))]
        names += [metric.name for metric in self.evaluation.metrics]
        for name in self.trust_remote_code:
            if name not in names:
                raise ValueError(
                    f"trust_remote_code names {shown(name)}, but the models and metrics of this recipe are {names}."
                    f"{did_you_mean(name, names)}"
                )
        if self.teacher.columns and self.student.model is None:
            raise ValueError(
                "student.model is required where teacher.column holds the answers: there is no model to cut"
            )
        return self

    @field_validator("task")
    @classmethod
    def _check_task(cls, value: str | None) -> str | None:
        return None if value is None else task_named(value).name

    @field_validator("export", mode="before")
    @classmethod
    def _as_formats(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return {} if value else {"formats": []}
        return {"formats": value} if isinstance(value, list) else value

    @field_validator("push_to_hub", mode="before")
    @classmethod
    def _as_push(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return {"enabled": value}
        if isinstance(value, str):
            return {"enabled": True, "repo_id": value}
        return {"enabled": True, **value} if isinstance(value, dict) and value else value

    @field_validator("data")
    @classmethod
    def _check_augmentation(cls, value: DataConfig) -> DataConfig:
        parse_augmentation(value.augmentation)
        return value

    @field_validator("training")
    @classmethod
    def _check_training(cls, value: dict[str, Any]) -> dict[str, Any]:
        return check_arguments(value, DistillationTrainingArguments)


def load_recipe(path: str | Path | None, overrides: Mapping[str, object] | None = None) -> Recipe:
    """Read a recipe, apply overrides and validate it all.

    Args:
        path: a YAML file; None = the overrides alone.
        overrides: values by dotted key, such as `{"training.learning_rate": 3e-5}`.

    Raises:
        DistillationError: no such file, invalid YAML, an unknown key, or a value that does not fit.
    """
    return parse_section(Recipe, recipe_values(path, overrides or {}))
