"""The plan of a run: everything resolved and checked before anything is trained."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import torch
import yaml
from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from distilnlp.data import DataConfig, PreparedData, prepare_data
from distilnlp.errors import DistillationError, UnreachableError, did_you_mean
from distilnlp.recipe import LABELS_ALONE, Recipe, baseline_values, build_arguments, distill_values, finetune_values
from distilnlp.runs.folder import check_folder
from distilnlp.signals import label_names_of, profile_of
from distilnlp.students import build_student
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, Task, task_of
from distilnlp.teachers import has_untrained_head
from distilnlp.trainer import DistillationTrainer

FINETUNE_STEPS = 300  # a teacher takes at least about as many, unless the recipe says how long it trains


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        recipe: the resolved recipe.
        task: what is distilled.
        tokenizer: of teacher and student.
        data: checked and split.
        teacher: loaded; with a new head if it is to be fine-tuned first.
        student: the shape that the student will have (its weights come from the finished teacher).
        max_length: in tokens, within what the teacher can read.
        trainings: the arguments of each training that the run has, of `student` and perhaps `teacher`, `baseline`.
    """

    recipe: Recipe
    task: Task
    tokenizer: PreTrainedTokenizerBase
    data: PreparedData
    teacher: PreTrainedModel
    student: PreTrainedModel
    max_length: int
    trainings: dict[str, dict[str, Any]]


def make_plan(recipe: Recipe) -> Plan:
    """Resolve and check a recipe: arguments, output folder, teacher, data, labels, student and layers.

    Raises:
        DistillationError: anything that does not fit, before any training.
    """
    _check_arguments(recipe)
    name = recipe.teacher.model
    tokenizer = load_pretrained(AutoTokenizer, name)
    finished = None if recipe.teacher.finetune else _load_finished_teacher(name)
    config: Any = load_pretrained(AutoConfig, name)
    max_length = readable_length(recipe.data, tokenizer, config)
    data = prepare_data(recipe.data, None if finished is None else _label_list(finished))
    teacher = _load_encoder(recipe, data.label_names) if finished is None else _named(finished, data.label_names)
    student = build_student(teacher, **student_options(recipe, teacher))
    trainings = _resolve_trainings(recipe, data)
    for values in trainings.values():
        _check_training(values, recipe.seed, data, student)
    student_args = build_arguments(trainings["student"], recipe.seed, Path(recipe.output))
    student_args.build_objective(task_of(student), profile_of(student), profile_of(teacher))
    tokenizer.model_max_length = max_length  # saved with the student: it is served as it was trained
    return Plan(recipe, task_of(teacher), tokenizer, data, teacher, student, max_length, trainings)


def dry_run(recipe: Recipe, overwrite: bool = False) -> str:
    """Check everything that can be checked without the network, and return the resolved plan as text.

    Raises:
        DistillationError: anything that does not fit.
    """
    with without_network():
        check_folder(recipe, overwrite)
        try:
            made = make_plan(recipe)
            plan = f"{describe(made)}\n\n{yaml.safe_dump({'trainings': made.trainings}, sort_keys=False).rstrip()}"
        except UnreachableError as error:
            plan = f"NOT CHECKED, for it is not on this machine: {error}{_check_data_alone(recipe)}"
    return f"{plan}\n\nNothing was trained or written: this was a dry run."


def _check_data_alone(recipe: Recipe) -> str:
    try:
        data = prepare_data(recipe.data, None)
    except UnreachableError as error:
        return f"\nNOT CHECKED either: {error}"
    return f"\nThe data is fine: {len(data.train):,} rows to train on, labels {', '.join(data.label_names)}."


@contextmanager
def without_network() -> Iterator[None]:
    """Keep the Hub libraries from reaching for the network, whatever the environment says."""
    hub, data = huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = hub, data


def load_pretrained(auto_class: Any, name: str, **kwargs: Any) -> Any:
    """Load with an auto class of transformers.

    Raises:
        UnreachableError: the name is no local path and the Hub did not give it.
        DistillationError: the local folder cannot be loaded.
    """
    try:
        return auto_class.from_pretrained(name, **kwargs)
    except Exception as error:  # transformers, tokenizers and safetensors raise many kinds, also plain ones
        is_path = name.startswith((".", "/", "~")) or Path(name).exists()
        kind = DistillationError if is_path else UnreachableError
        near = did_you_mean(name, [path.name for path in Path.cwd().iterdir() if path.is_dir()])
        raise kind(
            f"cannot load the model {name!r}: it must be a local folder (seen from {Path.cwd()}) or a Hub id that can "
            f"be reached or is in the cache.{near} {type(error).__name__}: {error}"
        ) from error


def _load_finished_teacher(name: str) -> PreTrainedModel:
    teacher, report = load_pretrained(SINGLE_LABEL_CLASSIFICATION.auto_class, name, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if has_untrained_head(teacher) or any("classifier" in key for key in missing):
        raise DistillationError(
            f"the teacher {name} has no trained classification head: it is a bare encoder, or its head is new. Set "
            "`teacher.finetune: true` to fine-tune it on the labelled rows first (flag --teacher.finetune true), or "
            "give a fine-tuned classifier."
        )
    check_complete(name, missing)
    task_of(teacher)
    label_names_of(teacher.config)
    return teacher


def check_complete(name: str, missing: list[str]) -> None:
    """Raise a `DistillationError` if weights are missing from a model's folder: they would be random."""
    if missing:
        raise DistillationError(
            f"the folder or repository {name} lacks {len(missing)} of the model's weights, which would be random: "
            f"{missing[:3]}. Expected a complete sequence classifier; save it again with save_pretrained."
        )


def _label_list(teacher: PreTrainedModel) -> list[str]:
    config: Any = teacher.config
    return [config.id2label[index] for index in range(config.num_labels)]


def _named(teacher: PreTrainedModel, label_names: list[str]) -> PreTrainedModel:
    """Give a teacher that has only placeholders the label names that the recipe states."""
    teacher.config.id2label = dict(enumerate(label_names))
    teacher.config.label2id = {label: index for index, label in enumerate(label_names)}
    return teacher


def _load_encoder(recipe: Recipe, label_names: list[str]) -> PreTrainedModel:
    set_seed(recipe.seed)  # the new head is random
    encoder = load_pretrained(
        SINGLE_LABEL_CLASSIFICATION.auto_class,
        recipe.teacher.model,
        num_labels=len(label_names),
        ignore_mismatched_sizes=True,
        dtype=torch.float32,  # it is to be trained: in half precision small updates round away
    )
    return _named(encoder, label_names)


def student_options(recipe: Recipe, teacher: PreTrainedModel) -> dict[str, Any]:
    """Return the arguments of `build_student` that a recipe means: half of the teacher's layers if it names none."""
    options = recipe.student.model_dump()
    if options["num_layers"] is None and options["layers"] is None:
        options["num_layers"] = max(1, teacher.config.num_hidden_layers // 2)
    return options


def _rehearse(values: dict[str, Any], seed: int, student: PreTrainedModel) -> None:
    """Set up a training without training, so that what the Trainer cannot do is known before anything is trained."""
    row = Dataset.from_dict({"input_ids": [[0]], "label": [0]})
    with tempfile.TemporaryDirectory() as folder:
        args = build_arguments({**values, **LABELS_ALONE, "losses": None}, seed, Path(folder))
        try:
            trainer = DistillationTrainer(student, None, args, train_dataset=row, eval_dataset=row)
            trainer.set_initial_training_values(args, trainer.get_train_dataloader())
            trainer.create_optimizer_and_scheduler(num_training_steps=1)
        except DistillationError:
            raise
        except Exception as error:  # the Trainer and the optimizers raise many kinds
            raise DistillationError(
                f"these training arguments cannot be honoured: {type(error).__name__}: {error} Change or remove them."
            ) from error


def _check_arguments(recipe: Recipe) -> None:
    """Check the arguments alone, before anything is loaded."""
    for values in (distill_values(recipe), baseline_values(recipe), finetune_values(recipe)):
        build_arguments(values, recipe.seed, Path(recipe.output))


def _resolve_trainings(recipe: Recipe, data: PreparedData) -> dict[str, dict[str, Any]]:
    """Return the arguments of each training, its length settled by the rows where the recipe leaves it open.

    The baseline takes as many steps as the student, or the comparison would flatter the student; a teacher takes
    enough steps to learn from few rows.
    """
    trainings = {"student": distill_values(recipe)}
    if (recipe.teacher.finetune or recipe.baseline) and len(data.labelled) == 0:
        raise DistillationError(
            "teacher.finetune and baseline learn from labelled rows, but none of the training rows has a label. Add "
            "some, or leave both out."
        )
    if recipe.teacher.finetune:
        values = finetune_values(recipe)
        steps_an_epoch = len(data.labelled) / values["per_device_train_batch_size"]
        epochs = max(3, math.ceil(FINETUNE_STEPS / steps_an_epoch))
        trainings["teacher"] = _with_length(values, recipe.teacher.finetune, epochs)
    if recipe.baseline:
        values = baseline_values(recipe)
        epochs = math.ceil(values["num_train_epochs"] * len(data.train) / len(data.labelled))
        trainings["baseline"] = _with_length(values, recipe.baseline, epochs)
    return trainings


def _with_length(values: dict[str, Any], own: bool | dict[str, Any], epochs: int) -> dict[str, Any]:
    is_settled = values.get("max_steps", -1) > 0 or (isinstance(own, dict) and "num_train_epochs" in own)
    return values if is_settled else {**values, "num_train_epochs": epochs}


def _check_training(values: dict[str, Any], seed: int, data: PreparedData, student: PreTrainedModel) -> None:
    wants_evaluation = values.get("eval_strategy", "no") != "no" or values.get("eval_on_start")
    if data.validation is None and wants_evaluation:
        raise DistillationError(
            "eval_strategy asks for evaluation during training, but there is no validation split. Set "
            "data.validation_split, or remove eval_strategy: the test split is kept for the end."
        )
    _rehearse(values, seed, student)


def readable_length(data: DataConfig, tokenizer: PreTrainedTokenizerBase, config: Any) -> int:
    """Return the `max_length` of the data, or what the model reads if that is shorter and none was asked for.

    Raises:
        DistillationError: a longer one was asked for, or the tokenizer is not the model's.
    """
    is_empty = len(tokenizer) <= len(tokenizer.all_special_ids)  # what transformers makes up where a folder has none
    if len(tokenizer) > config.vocab_size or tokenizer.pad_token is None or is_empty:
        raise DistillationError(
            f"the tokenizer must fit the model, but it has {len(tokenizer)} tokens and the pad token "
            f"{tokenizer.pad_token!r}, and the model has {config.vocab_size} embeddings. Put the model's own tokenizer "
            "into its folder."
        )
    # RoBERTa and MPNet number positions from padding_idx + 1, so that some of their positions hold no token.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "mpnet") else 0
    limit = min(tokenizer.model_max_length, config.max_position_embeddings - offset)
    if data.max_length > limit and "max_length" in data.model_fields_set:
        raise DistillationError(
            f"data.max_length must be at most {limit}, the longest text that the model reads, but it is "
            f"{data.max_length}. Lower it."
        )
    return min(data.max_length, limit)


def describe(plan: Plan) -> str:
    """Return the plan as text for a person."""
    recipe, data = plan.recipe, plan.data
    teacher, student = plan.teacher, plan.student
    lines = [
        f"teacher   {recipe.teacher.model}: {_shape(teacher)}"
        + (", to be fine-tuned first" if recipe.teacher.finetune else ""),
        f"student   {_shape(student)}, {teacher.num_parameters() / student.num_parameters():.1f} times smaller",
        f"labels    {', '.join(data.label_names)}",
        f"train     {len(data.train):,} rows, {len(data.labelled):,} of them with a label",
        f"test      {len(data.test):,} rows",
        f"text      cut after {plan.max_length} tokens",
        f"baseline  {'the same student on the labels alone' if recipe.baseline else 'none (baseline: true adds it)'}",
        f"output    {recipe.output}",
    ]
    return "\n".join(lines)


def _shape(model: PreTrainedModel) -> str:
    config = model.config
    return (
        f"{config.model_type}, {config.num_hidden_layers} layers x {config.hidden_size}, "
        f"{model.num_parameters() / 1e6:.1f}M parameters"
    )
