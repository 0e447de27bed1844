"""The plan of a run: everything resolved and checked before anything is trained."""

import tempfile
import textwrap
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

from distilnlp.arguments import DistillationTrainingArguments
from distilnlp.data import DataConfig, PreparedData, prepare_data
from distilnlp.errors import DistillationError, UnreachableError
from distilnlp.recipe import LABELS_ALONE, Recipe, baseline_values, build_arguments, distill_values, finetune_values
from distilnlp.runs.folder import check_folder
from distilnlp.signals import profile_of
from distilnlp.students import build_student
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, Task, task_of
from distilnlp.teachers import has_untrained_head
from distilnlp.trainer import DistillationTrainer


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
    """

    recipe: Recipe
    task: Task
    tokenizer: PreTrainedTokenizerBase
    data: PreparedData
    teacher: PreTrainedModel
    student: PreTrainedModel
    max_length: int


def make_plan(recipe: Recipe) -> Plan:
    """Resolve and check a recipe: arguments, output folder, teacher, data, labels, student and layers.

    Raises:
        DistillationError: anything that does not fit, before any training.
    """
    values = [distill_values(recipe)]
    values += [baseline_values(recipe)] if recipe.baseline else []
    values += [finetune_values(recipe)] if recipe.teacher.finetune else []
    arguments = [build_arguments(each, recipe.seed, Path(recipe.output)) for each in values]
    name = recipe.teacher.model
    config = load_pretrained(AutoConfig, name)
    tokenizer = load_pretrained(AutoTokenizer, name)
    names = None if recipe.teacher.finetune else [config.id2label[index] for index in range(config.num_labels)]
    data = prepare_data(recipe.data, names)
    _check_evaluation_during_training(arguments, data)
    teacher = _load_teacher(recipe, data.label_names)
    student = _shape_student(recipe, teacher)
    _check_objective(arguments[0], student, teacher)
    for each in values:
        _rehearse(each, recipe.seed, student)
    return Plan(
        recipe, task_of(teacher), tokenizer, data, teacher, student, readable_length(recipe.data, tokenizer, config)
    )


def dry_run(recipe: Recipe, overwrite: bool = False) -> str:
    """Check everything that can be checked without the network, and return the resolved plan as text.

    Raises:
        DistillationError: anything that does not fit.
    """
    with without_network():
        check_folder(recipe, overwrite)
        try:
            plan = describe(make_plan(recipe))
        except UnreachableError as error:
            plan = f"NOT CHECKED, for it is not on this machine: {error}{_check_data_alone(recipe)}"
    arguments = yaml.safe_dump(distill_values(recipe), sort_keys=False).rstrip()
    return (
        f"{plan}\n\ntraining\n{textwrap.indent(arguments, '  ')}\n\nNothing was trained or written: this was a dry run."
    )


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
        kind = DistillationError if Path(name).expanduser().exists() else UnreachableError
        raise kind(
            f"cannot load the model {name!r}: it must be a local folder (seen from {Path.cwd()}) or a Hub id that can "
            f"be reached or is in the cache. {type(error).__name__}: {error}"
        ) from error


def _load_teacher(recipe: Recipe, label_names: list[str]) -> PreTrainedModel:
    # What is to be trained is loaded in float32: in half precision small updates round away.
    options = {"ignore_mismatched_sizes": True, "dtype": torch.float32} if recipe.teacher.finetune else {}
    labels = {
        "num_labels": len(label_names),
        "id2label": dict(enumerate(label_names)),
        "label2id": {label: index for index, label in enumerate(label_names)},
    }
    set_seed(recipe.seed)  # a new head is random
    teacher = load_pretrained(SINGLE_LABEL_CLASSIFICATION.auto_class, recipe.teacher.model, **labels, **options)
    task_of(teacher)
    if not recipe.teacher.finetune and has_untrained_head(teacher):
        raise DistillationError(
            f"the teacher {recipe.teacher.model} has no trained classification head: it is a bare encoder, or its head "
            "is new. Set `teacher.finetune: true` to fine-tune it on the labelled rows first (flag "
            "--teacher.finetune true), or give a fine-tuned classifier."
        )
    return teacher


def _shape_student(recipe: Recipe, teacher: PreTrainedModel) -> PreTrainedModel:
    return build_student(teacher, **student_options(recipe, teacher))


def student_options(recipe: Recipe, teacher: PreTrainedModel) -> dict[str, Any]:
    """Return the arguments of `build_student` that a recipe means: half of the teacher's layers if it names none."""
    options = recipe.student.model_dump()
    if options["num_layers"] is None and options["layers"] is None:
        options["num_layers"] = max(1, teacher.config.num_hidden_layers // 2)
    return options


def _check_objective(args: DistillationTrainingArguments, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    args.build_objective(task_of(student), profile_of(student), profile_of(teacher))


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


def _check_evaluation_during_training(arguments: list[DistillationTrainingArguments], data: PreparedData) -> None:
    if data.validation is None and any(args.eval_strategy != "no" or args.eval_on_start for args in arguments):
        raise DistillationError(
            "eval_strategy asks for evaluation during training, but there is no validation split. Set "
            "data.validation_split, or remove eval_strategy: the test split is kept for the end."
        )


def readable_length(data: DataConfig, tokenizer: PreTrainedTokenizerBase, config: Any) -> int:
    """Return the `max_length` of the data, or what the model reads if that is shorter and none was asked for.

    Raises:
        DistillationError: a longer one was asked for, or the tokenizer is not the model's.
    """
    if len(tokenizer) > config.vocab_size or tokenizer.pad_token is None:
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
