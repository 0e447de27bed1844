"""The plan of a run: everything resolved and checked before anything is trained."""

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, default_data_collator

from distilnlp.data import FOLD, NO_FOLD, PreparedData, assign_folds, prepare_data
from distilnlp.data.sequence import TextRows
from distilnlp.errors import DistillationError
from distilnlp.recipe import LABELS_ALONE, Recipe, baseline_values, build_arguments, distill_values, finetune_values
from distilnlp.runs.augmenting import augmented
from distilnlp.runs.models import (
    find_task,
    label_list,
    load_finished,
    load_pretrained,
    make_student,
    named,
    new_head,
    readable_length,
    same_vocabulary,
)
from distilnlp.signals import SignalProfile
from distilnlp.students import estimate_cost
from distilnlp.tasks import Task, profile_of
from distilnlp.trainer import DistillationTrainer
from distilnlp.trainer_checks import check_batch_size, check_own_encoding

FINETUNE_STEPS = 300  # a teacher takes at least about as many, unless the recipe says how long it trains


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        recipe: the resolved recipe.
        task: what is distilled.
        tokenizer: of the student.
        teacher_tokenizer: of the teacher; the same object where they share one.
        data: checked and split.
        teacher: loaded; with a new head if it is to be fine-tuned first.
        student: the shape that the student will have (its weights come from the finished teacher).
        max_length: of the student's texts, in tokens.
        teacher_max_length: of the teacher's; the same unless the recipe gives it one of its own.
        trainings: the arguments of each training that the run has, of `student` and perhaps `teacher`, `baseline`.
    """

    recipe: Recipe
    task: Task
    tokenizer: PreTrainedTokenizerBase
    teacher_tokenizer: PreTrainedTokenizerBase
    data: PreparedData
    teacher: PreTrainedModel
    student: PreTrainedModel
    max_length: int
    teacher_max_length: int
    trainings: dict[str, dict[str, Any]]

    @property
    def teacher_profile(self) -> SignalProfile:
        """What the teacher can give: the teachers of several folds give logits alone."""
        own = profile_of(self.teacher)
        if self.recipe.teacher.folds is None:
            return own
        return SignalProfile(own.label_names, own.num_labels, task=own.task)

    @property
    def has_two_views(self) -> bool:
        """Whether student and teacher each read an encoding of their own: other pieces, lengths or columns."""
        has_own_text = self.recipe.teacher.text_columns is not None
        return has_own_text or (self.tokenizer, self.max_length) != (self.teacher_tokenizer, self.teacher_max_length)


def make_plan(recipe: Recipe) -> Plan:
    """Resolve and check a recipe: arguments, output folder, task, teacher, data, labels, student and losses.

    Raises:
        DistillationError: anything that does not fit, before any training.
    """
    _check_arguments(recipe)
    name, is_finished = recipe.teacher.model, not recipe.teacher.finetune
    task = find_task(recipe.task, name, is_finished)
    teacher_tokenizer = load_pretrained(AutoTokenizer, name)
    finished = load_finished(name, task) if is_finished else None
    names = None if finished is None else label_list(finished, task)
    data = prepare_data(recipe.data, task.rows, names, recipe.teacher.text_columns)
    data = augmented(recipe, data, teacher_tokenizer)
    if recipe.teacher.folds is not None:
        data = _with_folds(data, recipe.teacher.folds, recipe.seed)
    teacher = named(finished or new_head(name, task, data.label_names, recipe.seed), data.label_names)
    max_length = readable_length(recipe.data, teacher_tokenizer, teacher.config)
    student, tokenizer = make_student(recipe, teacher, teacher_tokenizer, task, data.train, max_length)
    own_length = recipe.teacher.max_length
    teachers_data = recipe.data.model_copy(update={"max_length": own_length or recipe.data.max_length})
    tokenizer = teacher_tokenizer if same_vocabulary(tokenizer, teacher_tokenizer) else tokenizer
    max_length = min(max_length, readable_length(recipe.data, tokenizer, student.config))
    teacher_length = readable_length(teachers_data, teacher_tokenizer, teacher.config) if own_length else max_length
    trainings = _resolve_trainings(recipe, data)
    for values in trainings.values():
        _check_training(values, recipe.seed, data, student)
    tokenizer.model_max_length = max_length  # saved with the student: it is served as it was trained
    plan = Plan(
        recipe, task, tokenizer, teacher_tokenizer, data, teacher, student, max_length, teacher_length, trainings
    )
    if plan.has_two_views:
        _check_own_view(recipe, task)
    student_args = build_arguments(trainings["student"], recipe.seed, Path(recipe.output))
    check_batch_size(student_args.build_objective(task, profile_of(student), plan.teacher_profile), student_args)
    return plan


def _check_own_view(recipe: Recipe, task: Task) -> None:
    """Refuse what only a task of whole texts can have."""
    check_own_encoding(task)
    if recipe.teacher.text_columns is not None and not isinstance(task.rows, TextRows):
        raise DistillationError(
            f"teacher.text_columns give the teacher a text of its own, but the rows of {task.name} are no plain texts. "
            "Remove teacher.text_columns."
        )


def _with_folds(data: PreparedData, num_folds: int, seed: int) -> PreparedData:
    """Say of each training row which teacher may answer it."""
    folds = assign_folds(data.train, data.rows, num_folds, seed)
    validation = data.validation
    if validation is not None:
        validation = validation.add_column(FOLD, np.full(len(validation), NO_FOLD))
    return replace(data, train=data.train.add_column(FOLD, folds), validation=validation)


def _rehearse(values: dict[str, Any], seed: int, student: PreTrainedModel) -> None:
    """Set up a training without training, so that what the Trainer cannot do is known before anything is trained."""
    row = Dataset.from_dict({"input_ids": [[0]]})
    with tempfile.TemporaryDirectory() as folder:
        args = build_arguments({**values, **LABELS_ALONE, "losses": None, "schedules": None}, seed, Path(folder))
        try:
            trainer = DistillationTrainer(student, None, args, default_data_collator, row, row)
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
    objective = trainings["student"]
    if not (objective.get("soft_loss_weight", 1) or objective.get("losses") or len(data.labelled)):
        raise DistillationError(
            "the student has nothing to learn from: soft_loss_weight is 0, there are no losses, and none of the "
            "training rows has a label. Give one of them."
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


def describe(plan: Plan) -> str:
    """Return the plan as text for a person."""
    recipe, data = plan.recipe, plan.data
    teacher, student = plan.teacher, plan.student
    lines = [
        f"teacher   {recipe.teacher.model}: {_shape(teacher)}"
        + (", to be fine-tuned first" if recipe.teacher.finetune else "")
        + (f", once without each of {recipe.teacher.folds} folds" if recipe.teacher.folds else ""),
        f"student   {_shape(student)}, {teacher.num_parameters() / student.num_parameters():.1f} times smaller",
        f"task      {plan.task.name}{labels_text(data)}",
        f"train     {len(data.train):,} rows, {len(data.labelled):,} of them with a label",
        f"test      {len(data.test):,} rows",
        f"text      cut after {plan.max_length} tokens" + (_teachers_view(plan) if plan.has_two_views else ""),
        f"baseline  {'the same student on the labels alone' if recipe.baseline else 'none (baseline: true adds it)'}",
        f"output    {recipe.output}",
    ]
    cost = estimate_cost(student, teacher, length=plan.max_length)
    return "\n".join([*lines, "", str(cost)])


def _teachers_view(plan: Plan) -> str:
    """Return how the teacher reads the rows."""
    columns = plan.recipe.teacher.text_columns
    own = f"{', '.join(columns)}, " if columns else "text "
    return f"; the teacher reads {own}by its own tokenizer cut after {plan.teacher_max_length}"


def labels_text(data: PreparedData) -> str:
    """Return the label names for a plan; nothing where there are none."""
    return f", labels {', '.join(data.label_names)}" if data.label_names else ""


def _shape(model: PreTrainedModel) -> str:
    config = model.config
    return (
        f"{config.model_type}, {config.num_hidden_layers} layers x {config.hidden_size}, "
        f"{model.num_parameters() / 1e6:.1f}M parameters"
    )
