"""Calls of the package with what they cannot take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from datasets import ClassLabel, Dataset, Features, Value
from transformers import TrainingArguments

from distilnlp import (
    TASKS,
    CachedTeacher,
    ColumnTeacher,
    DistillationTrainer,
    EnsembleTeacher,
    as_teacher,
    augment,
    build_student,
    estimate_cost,
    trim_vocabulary,
)
from distilnlp.data import DataConfig, assign_folds, prepare_data
from distilnlp.errors import DistillationError
from distilnlp.evaluation import evaluate_models
from distilnlp.recipe.sections import load_recipe
from tests.bad_inputs.models import Models
from tests.conftest import sharp, tiny_arguments, tiny_data, tiny_student, tiny_teacher
from tests.tiny import tiny_model, tiny_rows, tiny_tokenizer


@dataclass(frozen=True)
class Call:
    """A call that is refused: how it is made, given the models on disk, and what the error must be and match."""

    name: str
    message: str
    make: Callable[[Models], Any]
    error: type[Exception] = DistillationError


def trainer(
    name: str,
    message: str,
    make: Callable[[], dict[str, Any]],
    trains: bool = False,
    error: type[Exception] = DistillationError,
) -> Call:
    """A trainer built of these, beside what is right, and perhaps asked to train."""

    def build(_: Models) -> Any:
        own = make()
        own.setdefault("model", tiny_student())
        own.setdefault("teacher_model", tiny_teacher())
        own.setdefault("args", tiny_arguments("out", **own.pop("arguments", {})))
        own.setdefault("train_dataset", tiny_data())
        made = DistillationTrainer(processing_class=tiny_tokenizer(), **own)
        return made.train() if trains else made

    return Call(f"trainer: {name}", message, build, error)


def arguments(name: str, message: str, **options: Any) -> Call:
    return Call(f"arguments: {name}", message, lambda _: tiny_arguments("out", **options))


def student(name: str, message: str, **options: Any) -> Call:
    return Call(f"build_student: {name}", message, lambda _: build_student(tiny_teacher(), **options))


def rows_with(**columns: Any) -> Dataset:
    rows = tiny_data(6)
    for name, values in columns.items():
        rows = (rows.remove_columns(name) if name in rows.column_names else rows).add_column(name, values)
    return rows


def one() -> dict[str, Any]:
    model = tiny_student()
    return {"model": model, "teacher_model": model}


def other_order() -> Dataset:
    names = ["a", "b", "c"]
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    rows = Dataset.from_dict({"text": ["a film"] * 6, "label": [0, 1, 2] * 2}, features=features)
    return rows.map(lambda row: tiny_tokenizer()(row["text"]))


NAMES = ("film", "money", "sport")
SINGLE = "single_label_classification"
CALLS = [
    arguments("a temperature in words", "temperature", temperature="hot"),
    arguments("a temperature of None", "temperature", temperature=None),
    arguments("a negative temperature", "temperature", temperature=-1),
    arguments("a weight in words", "soft_loss_weight", soft_loss_weight="much"),
    arguments("a weight of None", "hard_loss_weight", hard_loss_weight=None),
    arguments("no weight at all", "every loss weight is zero", soft_loss_weight=0, hard_loss_weight=0),
    arguments("losses as a mapping", "losses must be a list", losses={"name": "pkd"}),
    arguments("losses as text that is no JSON", "losses.*JSON", losses="[pkd"),
    arguments("losses as text that is no list", "losses must be a list", losses="3"),
    arguments("a loss that is a word", r"losses\[0\]", losses=["pkd"]),
    arguments("a loss that is None", r"losses\[0\]", losses=[None]),
    arguments("an unknown loss", "Did you mean 'pkd'", losses=[{"name": "pdk"}]),
    arguments("schedules as a list", "schedules must be a mapping", schedules=["linear"]),
    arguments("schedules as text that is no JSON", "schedules.*JSON", schedules="{linear"),
    arguments("a schedule that is a word", r"schedules\.temperature", schedules={"temperature": "linear"}),
    arguments("an unknown dtype", "teacher_dtype", teacher_dtype="float8"),
    arguments("a dtype of torch", "teacher_dtype", teacher_dtype=torch.float16),
    arguments("an unknown dtype of the cache", "teacher_cache_dtype", teacher_cache_dtype="int8"),
    arguments("no answers kept", "teacher_cache_top_k", teacher_cache_top_k=0),
    arguments("an empty cache", "teacher_cache", teacher_cache=""),
    arguments("smoothed labels", "label_smoothing_factor", label_smoothing_factor=0.1),
    arguments("liger", "use_liger_kernel", use_liger_kernel=True),
    trainer(
        "the Trainer's own arguments",
        "DistillationTrainingArguments",
        lambda: {"args": TrainingArguments("out", use_cpu=True, report_to="none")},
    ),
    trainer("arguments as a mapping", "DistillationTrainingArguments", lambda: {"args": {"temperature": 2}}),
    trainer("student and teacher one object", "one and the same", one),
    trainer(
        "the student among the teachers",
        "one and the same",
        lambda: (lambda model: {"model": model, "teacher_model": [tiny_teacher(), model]})(tiny_student()),
    ),
    trainer("a teacher that is a path", "teacher", lambda: {"teacher_model": "my-teacher"}),
    trainer("a teacher that is a number", "teacher", lambda: {"teacher_model": 7}),
    trainer("a teacher that is a bare function", "teacher", lambda: {"teacher_model": lambda batch: batch}),
    trainer("an empty list of teachers", "teacher", lambda: {"teacher_model": []}),
    trainer("a student that is a path", "student|model", lambda: {"model": "my-student"}),
    trainer("a student that is a plain module", "student|model|task", lambda: {"model": torch.nn.Linear(3, 3)}),
    trainer("no student", "model", lambda: {"model": None}, error=RuntimeError),
    trainer("a loss function", "compute_loss_func", lambda: {"compute_loss_func": lambda *_: 0}),
    trainer("an untrained teacher", "head|trained", lambda: {"teacher_model": untrained()}),
    trainer(
        "a teacher of other labels", "labels", lambda: {"teacher_model": sharp(tiny_model(labels=("a", "b", "c")))}
    ),
    trainer("a teacher of two labels", "label", lambda: {"teacher_model": sharp(tiny_model(labels=("a", "b")))}),
    trainer("a teacher of another task", "task", lambda: {"teacher_model": other_task()}),
    trainer("a teacher of another vocabulary", "token", lambda: {"teacher_model": sharp(tiny_model(vocab_size=99))}),
    trainer("labels out of range", "label.*7", lambda: {"train_dataset": rows_with(label=[0, 1, 2, 7, 0, 1])}),
    trainer("labels below -100", "label.*-5", lambda: {"train_dataset": rows_with(label=[0, 1, 2, -5, 0, 1])}),
    trainer("labels in words", "label", lambda: {"train_dataset": rows_with(label=["film"] * 6)}),
    trainer("labels in lists", "label", lambda: {"train_dataset": rows_with(label=[[0]] * 6)}),
    trainer("labels of other names", "labels", lambda: {"train_dataset": other_order()}),
    trainer(
        "rows that are not tokenised",
        "input_ids|token",
        lambda: {"train_dataset": tiny_rows(6).rename_column("text", "review")},
        trains=True,
    ),
    trainer(
        "token ids in words", "input_ids", lambda: {"train_dataset": rows_with(input_ids=[["a", "b"]] * 6)}, trains=True
    ),
    trainer("no rows", "row|empty|train", lambda: {"train_dataset": tiny_data(6).select([])}, trains=True),
    trainer(
        "rows that are a list of texts", "row|train|data", lambda: {"train_dataset": ["a film", "a match"]}, trains=True
    ),
    trainer(
        "a layer too many",
        "student's index",
        lambda: {"arguments": {"losses": [{"name": "pkd", "layer_mapping": [[9, 1]]}]}},
    ),
    trainer(
        "pairs in batches of one",
        "at least 2",
        lambda: {"arguments": {"losses": [{"name": "rkd_distance"}], "per_device_train_batch_size": 1}},
    ),
    student("nothing to cut", "num_layers"),
    student("a depth and layers", "not both", num_layers=1, layers=[0]),
    student("a depth of zero", "num_layers", num_layers=0),
    student("a depth in words", "num_layers", num_layers="two"),
    student("half a layer", "num_layers", num_layers=1.5),
    student("a depth of true", "num_layers", num_layers=True),
    student("too deep", "num_layers", num_layers=9),
    student("layers in words", "layers", layers="all"),
    student("layers in another order", "layers", layers=[2, 1]),
    student("layers that are not there", "layer", layers=[0, 9]),
    student("an unknown strategy", "layer_strategy", num_layers=2, layer_strategy="middle"),
    student("an unknown family", "model_type", num_layers=2, model_type="gpt9"),
    student("narrower without a sample", "sample", num_layers=2, hidden_size=8),
    student("a width that cuts a head", "multiple of", num_layers=2, hidden_size=9, sample=[]),
    Call("build_student: a path", "model|teacher", lambda _: build_student("my-teacher", num_layers=1)),
    Call(
        "build_student: a plain module",
        "model|teacher",
        lambda _: build_student(torch.nn.Linear(2, 2), num_layers=1),
    ),
    Call("trim_vocabulary: no texts", "text", lambda _: trim_vocabulary(tiny_student(), tiny_tokenizer(), [])),
    Call("trim_vocabulary: numbers", "text", lambda _: trim_vocabulary(tiny_student(), tiny_tokenizer(), [1, 2])),
    Call("trim_vocabulary: one text", "text", lambda _: trim_vocabulary(tiny_student(), tiny_tokenizer(), "the film")),
    Call("estimate_cost: a path", "model", lambda _: estimate_cost("my-student")),
    Call("estimate_cost: no length", "length", lambda _: estimate_cost(tiny_student(), length=0)),
    Call("as_teacher: a path", "teacher", lambda _: as_teacher("my-teacher")),
    Call("as_teacher: None", "teacher", lambda _: as_teacher(None)),
    Call("EnsembleTeacher: nobody", "teacher|member", lambda _: EnsembleTeacher([])),
    Call(
        "EnsembleTeacher: too few weights",
        "weights",
        lambda _: EnsembleTeacher([as_teacher(tiny_teacher())] * 2, weights=[1]),
    ),
    Call(
        "EnsembleTeacher: weights in words",
        "weights",
        lambda _: EnsembleTeacher([as_teacher(tiny_teacher())] * 2, weights=["a", "b"]),
    ),
    Call(
        "EnsembleTeacher: an unknown mean",
        "average",
        lambda _: EnsembleTeacher([as_teacher(tiny_teacher())] * 2, average="votes"),
    ),
    Call("ColumnTeacher: an unknown task", "task", lambda _: ColumnTeacher("answer", "clasification", NAMES)),
    Call(
        "ColumnTeacher: a task of words",
        "token_classification",
        lambda _: ColumnTeacher("answer", "token_classification", NAMES),
    ),
    Call("ColumnTeacher: an unknown form", "form", lambda _: ColumnTeacher("answer", SINGLE, NAMES, form="softmax")),
    Call("ColumnTeacher: names as text", "label_names", lambda _: ColumnTeacher("answer", SINGLE, "film")),
    Call("ColumnTeacher: a name twice", "label_names", lambda _: ColumnTeacher("answer", SINGLE, ["film", "film"])),
    Call("ColumnTeacher: numbers for names", "label_names", lambda _: ColumnTeacher("answer", SINGLE, [1, 2])),
    Call("CachedTeacher: no such folder", "nowhere", lambda _: CachedTeacher("nowhere")),
    Call("CachedTeacher: a model", "manifest|cache", lambda models: CachedTeacher(models["teacher"])),
    Call(
        "augment: an unknown method",
        "Did you mean 'mask_words'",
        lambda _: augment(tiny_rows(6), [{"name": "mask_word"}], seed=0),
    ),
    Call("augment: a word for a method", r"augmentation\[0\]", lambda _: augment(tiny_rows(6), ["mask_words"], seed=0)),
    Call("augment: no tokenizer", "tokenizer|mask", lambda _: augment(tiny_rows(6), [{"name": "mask_words"}], seed=0)),
    Call("assign_folds: one", "fold", lambda _: assign_folds(tiny_rows(6), TASKS[SINGLE].rows, 1, 0)),
    Call(
        "prepare_data: an unknown file",
        "no file",
        lambda _: prepare_data(DataConfig(source="nowhere.csv"), TASKS[SINGLE].rows, NAMES),
    ),
    Call("evaluate_models: no models", "model", lambda _: evaluate_models({}, [], tiny_tokenizer())),
    Call(
        "evaluate_models: no rows",
        "row|example",
        lambda _: evaluate_models({"student": tiny_student()}, [], tiny_tokenizer(), task=TASKS[SINGLE].evaluation),
    ),
    Call("load_recipe: no file", "no recipe", lambda _: load_recipe("nowhere.yaml")),
    Call("load_recipe: nothing", "missing", lambda _: load_recipe(None)),
    Call("load_recipe: a number for a key", "key|seed", lambda _: load_recipe(None, {"seed.x": 1, "output": "out"})),
]


def untrained() -> Any:
    model = tiny_teacher()
    torch.nn.init.zeros_(model.classifier.bias)
    torch.nn.init.normal_(model.classifier.weight, std=model.config.initializer_range)
    return model


def other_task() -> Any:
    from tests.tiny_tasks import task_teacher

    return task_teacher("token_classification")
