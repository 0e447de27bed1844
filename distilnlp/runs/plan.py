"""The plan of a run: everything resolved and checked before anything is trained."""

import math
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, default_data_collator

from distilnlp.data import PreparedData, assign_folds, prepare_data
from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.metrics.task import best_checkpoint_metric
from distilnlp.models.loading import load_pretrained
from distilnlp.recipe.sections import (
    LABELS_ALONE,
    Recipe,
    baseline_values,
    build_arguments,
    distill_values,
    finetune_values,
)
from distilnlp.runs.augmenting import augmented
from distilnlp.runs.lengths import readable_length, warn_of_misfit
from distilnlp.runs.members import Member, column_teacher, in_labels_of_data, make_members
from distilnlp.runs.models import cut_student, find_task, label_list, load_finished, new_head, pretrained_student
from distilnlp.runs.teacher_sample import check_finished_teacher
from distilnlp.signals import SignalProfile
from distilnlp.signals.names import ANSWER, CHOICES, FOLD, NO_FOLD, SOURCE_ROW, TEACHER_TEXT
from distilnlp.students import estimate_cost
from distilnlp.tasks import Task, profile_of
from distilnlp.training.checks import check_batch_size, check_own_encoding
from distilnlp.training.stopping import (
    HELD_OUT,
    OWN_LENGTH,
    VALIDATION,
    can_hold_out,
    learning_rate,
    longest_training,
    stopping_arguments,
)
from distilnlp.training.trainer import DistillationTrainer

MOST_LABELS = 10  # that a plan names
USUAL_WIDTH = 768  # of an encoder whose config does not say it


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        recipe: the resolved recipe.
        task: what is distilled.
        tokenizer: of the student.
        data: checked and split.
        members: the models of the teacher; none where its answers stand in the data.
        student: the shape that the student will have, without weights, as the members are.
        max_length: of the student's texts, in tokens.
        trainings: the arguments of each training that the run has, of `student` and perhaps `teacher`, `baseline`.
        stopped: which of them end when their score stops rising, on the rows `VALIDATION` or `HELD_OUT`.
    """

    recipe: Recipe
    task: Task
    tokenizer: PreTrainedTokenizerBase
    data: PreparedData
    members: tuple[Member, ...]
    student: PreTrainedModel
    max_length: int
    trainings: dict[str, dict[str, Any]]
    stopped: dict[str, str]

    @property
    def teacher_profile(self) -> SignalProfile:
        """What the teacher can give: logits alone, unless it is one model."""
        if len(self.members) == 1 and self.recipe.teacher.folds is None:
            return profile_of(self.members[0].model)
        own = profile_of(self.members[0].model if self.members else self.student)
        return SignalProfile(own.label_names, own.num_labels, task=own.task)

    @property
    def has_two_views(self) -> bool:
        """Whether student and teacher each read an encoding of their own: other pieces, lengths or columns."""
        has_own_text = self.recipe.teacher.text_columns is not None
        return has_own_text or any(member.view != (self.tokenizer, self.max_length) for member in self.members)


def make_plan(recipe: Recipe) -> Plan:
    """Resolve and check a recipe: arguments, output folder, task, teacher, data, labels, student and losses.

    Raises:
        DistillationError: anything that does not fit, before any training.
    """
    _check_arguments(recipe)
    names, is_finished = recipe.teacher.models, not recipe.teacher.finetune
    trusted = recipe.trust_remote_code
    task = find_task(recipe.task, names[0] if names and is_finished else None, trusted)
    if task.draws_its_items and (len(names) > 1 or recipe.teacher.folds):
        raise DistillationError(
            f"{task.name} is answered at positions that are drawn, so its teacher is one model in a recipe, but there "
            "are several or teacher.folds. Name one model and remove folds."
        )
    tokenizers = [load_pretrained(AutoTokenizer, name, trusted) for name in names]
    models = [load_finished(name, task, trusted) for name in names] if is_finished else []
    data = _prepare(recipe, task, label_list(models[0], task) if models else None, tokenizers)
    if models:
        models = in_labels_of_data(models, data.label_names, recipe.data.label_names)
    else:
        models = [new_head(name, task, data.label_names, recipe.seed, trusted) for name in names]
    student, tokenizer, max_length = _student(recipe, task, data, models, tokenizers)
    members = make_members(recipe, task, models, tokenizers, tokenizer, max_length)
    if recipe.teacher.columns:
        _check_answers(recipe, task, data)
    trainings, stopped = _resolve_trainings(recipe, task, data, [*models, student])
    for name, values in trainings.items():
        _check_training(values, recipe.seed, data.validation is not None or name in stopped, student, task)
    for reader, length in dict.fromkeys([(tokenizer, max_length), *(member.view for member in members)]):
        warn_of_misfit(reader, length, task.rows.texts(data.train))
    plan = Plan(recipe, task, tokenizer, data, members, student, max_length, trainings, stopped)
    if plan.has_two_views:
        _check_own_view(recipe, task)
    _check_validation(plan)
    student_args = build_arguments(trainings["student"], recipe.seed, Path(recipe.output))
    objective = student_args.build_objective(task, profile_of(student), plan.teacher_profile)
    check_batch_size(objective, student_args, task.texts_a_row(data.train, CHOICES))
    if models and is_finished and PartialState().is_main_process:
        check_finished_teacher(task, data, members, recipe.data)
    for model in (*models, student):
        model.to("meta")  # type: ignore[arg-type]  # the stages load the weights: from here on only shapes count
    return plan


def _prepare(
    recipe: Recipe, task: Task, label_names: list[str] | None, tokenizers: list[PreTrainedTokenizerBase]
) -> PreparedData:
    """Return the data, with what augmentation adds and with the folds."""
    data = prepare_data(recipe.data, task.rows, label_names, recipe.teacher.text_columns, recipe.teacher.columns)
    data = augmented(recipe, data, tokenizers[0] if tokenizers else None)
    return data if recipe.teacher.folds is None else _with_folds(data, recipe.teacher.folds, recipe.seed)


def _student(
    recipe: Recipe,
    task: Task,
    data: PreparedData,
    models: list[PreTrainedModel],
    tokenizers: list[PreTrainedTokenizerBase],
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, int]:
    """Return the student's shape, its tokenizer and the length of its texts."""
    asked = recipe.data.max_length
    longest = readable_length(asked, tokenizers[0], models[0]) if models else sys.maxsize
    if recipe.student.model is not None:
        student, tokenizer = pretrained_student(recipe, task, data.label_names)
    else:
        student, tokenizer = cut_student(recipe, models[0], tokenizers[0], task, data.train, longest)
    return student, tokenizer, min(longest, readable_length(asked, tokenizer, student))


def _check_answers(recipe: Recipe, task: Task, data: PreparedData) -> None:
    """Refuse rows that the teacher answers and that have no valid answer of its."""
    teacher = column_teacher(recipe, task, data.label_names)
    columns = ", ".join(map(repr, recipe.teacher.columns))
    for split, answers in data.answers.items():
        if split != "validation" or recipe.training.get("eval_soft_loss"):
            name = f"teacher.column {columns} of the {split} data (rows counted from 0)"
            teacher.check_numbered_rows(answers, SOURCE_ROW, name)


def _check_validation(plan: Plan) -> None:
    """Refuse an evaluation during training that reads what the validation rows lack."""
    teacher, validation = plan.recipe.teacher, plan.data.validation
    evaluates = _evaluates(teacher.finetune if isinstance(teacher.finetune, dict) else {})
    is_read = plan.trainings["student"].get("eval_soft_loss") or evaluates
    if validation is None or not is_read:
        return
    for column, names in ((TEACHER_TEXT, teacher.text_columns), (ANSWER, teacher.columns)):
        if names and column not in validation.column_names:
            raise DistillationError(
                f"the teacher is to read the validation rows, but these lack some of its columns {list(names)}. Add "
                "them, or set eval_soft_loss to false and leave eval_strategy out of teacher.finetune."
            )


def _evaluates(values: dict[str, Any]) -> bool:
    """Whether a training evaluates."""
    return values.get("eval_strategy", "no") != "no" or bool(values.get("eval_on_start"))


def _check_own_view(recipe: Recipe, task: Task) -> None:
    """Refuse what only a task of whole texts can have."""
    check_own_encoding(task)
    if recipe.teacher.text_columns is not None and not task.rows.are_texts:
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


def _resolve_trainings(
    recipe: Recipe, task: Task, data: PreparedData, models: list[PreTrainedModel]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the arguments of each training, its length settled by the rows where the recipe leaves it open.

    Args:
        recipe: what it sets stays.
        task: of all.
        data: checked and split.
        models: of the teacher, and last the student.

    Returns:
        The arguments by the training's name, and which trainings end when their score stops rising, on which rows.
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
    labelled = len(data.labelled)
    if recipe.teacher.finetune:
        width = max(getattr(model.config, "hidden_size", USUAL_WIDTH) for model in models[:-1])
        values = {"learning_rate": learning_rate(width), **finetune_values(recipe)}
        batch = values["per_device_train_batch_size"] * values.get("gradient_accumulation_steps", 1)
        epochs = longest_training(_learned_by_teacher(recipe, labelled), len(data.label_names), batch)
        trainings["teacher"] = {"num_train_epochs": epochs, **values}
    if recipe.baseline:
        # At the most as many steps as the student takes, or the comparison would flatter the student.
        values = baseline_values(recipe)
        epochs = math.ceil(values["num_train_epochs"] * len(data.train) / labelled)
        is_settled = values.get("max_steps", -1) > 0 or "num_train_epochs" in _own_keys(recipe.baseline)
        trainings["baseline"] = values if is_settled else {**values, "num_train_epochs": epochs}
    metric = best_checkpoint_metric(task.evaluation, models[-1].config)
    stopped = {name: rows for name in ("teacher", "baseline") if (rows := _stopped_on(name, recipe, data))}
    for name in stopped:
        trainings[name] |= stopping_arguments(metric)
    return trainings, stopped


def _stopped_on(name: str, recipe: Recipe, data: PreparedData) -> str | None:
    """Return the rows whose score ends a training on the labels, None where its length is given or no rows are left."""
    is_teacher = name == "teacher"
    asked = recipe.teacher.finetune if is_teacher else recipe.baseline
    if not asked or _own_keys(asked) & OWN_LENGTH:
        return None
    is_read = not is_teacher or recipe.teacher.text_columns is None
    if data.validation is not None and (is_read or TEACHER_TEXT in data.validation.column_names):
        return VALIDATION
    learned = _learned_by_teacher(recipe, len(data.labelled)) if is_teacher else len(data.labelled)
    return HELD_OUT if can_hold_out(learned, len(data.label_names)) else None


def _learned_by_teacher(recipe: Recipe, labelled: int) -> int:
    """Return how many of the labelled rows a teacher learns: all, or those of the other folds."""
    folds = recipe.teacher.folds
    return labelled if folds is None else labelled * (folds - 1) // folds


def _own_keys(asked: bool | dict[str, Any]) -> set[str]:
    """Return the arguments that a recipe itself sets for a training."""
    return set(asked) if isinstance(asked, dict) else set()


def _check_training(
    values: dict[str, Any], seed: int, has_validation: bool, student: PreTrainedModel, task: Task
) -> None:
    _check_best_metric(values, student, task)
    if not has_validation and _evaluates(values):
        asked = "eval_on_start" if values.get("eval_on_start") else "eval_strategy"
        raise DistillationError(
            f"{asked} asks for evaluation during training, but there is no labelled validation split beside the "
            "test split, which is kept for the end (a validation split alone stands in for it). Add one, name it in "
            f"data.validation_split, or remove {asked}."
        )
    _rehearse(values, seed, student)


def _check_best_metric(values: dict[str, Any], student: PreTrainedModel, task: Task) -> None:
    """Refuse a metric to choose the best checkpoint by that no evaluation gives."""
    given = values.get("metric_for_best_model")
    if given is None:
        return
    names = [
        *task.evaluation.training_metrics(student.config),
        "loss",
        *(["soft_loss"] if values.get("eval_soft_loss") else []),
    ]
    name = given.removeprefix("eval_")
    if name not in names:
        near = [known for known in names if name in known]
        hint = f" Did you mean {near[0]!r}?" if near else did_you_mean(name, names)
        raise DistillationError(
            f"metric_for_best_model must be one of {names}, what an evaluation during this training gives, but it is "
            f"{shown(given)}.{hint}"
        )


def describe(plan: Plan) -> str:
    """Return the plan as text for a person."""
    recipe, data = plan.recipe, plan.data
    student = plan.student
    lines = [
        *_teacher_lines(plan),
        f"student   {_shape(student)}{_times_smaller(plan)}",
        f"task      {plan.task.name}{labels_text(data)}",
        f"train     {len(data.train):,} rows, {len(data.labelled):,} of them with a label",
        f"test      {len(data.test):,} rows",
        f"text      cut after {plan.max_length} tokens" + (_teachers_view(plan) if plan.has_two_views else ""),
        f"baseline  {'the same student on the labels alone' if recipe.baseline else 'none (baseline: true adds it)'}",
        f"output    {recipe.output}",
    ]
    first = plan.members[0].model if plan.members else None
    cost = estimate_cost(student, first, length=plan.max_length)
    return "\n".join([*lines, "", str(cost)])


def _teacher_lines(plan: Plan) -> list[str]:
    """Return a line for each model of the teacher, or one for the columns of its answers."""
    config = plan.recipe.teacher
    if config.columns:
        names = config.columns
        if len(names) > 1:  # in which order they are meant is seen here alone
            names = tuple(f"{name} = {label}" for name, label in zip(names, plan.data.label_names, strict=False))
        return [f"teacher   the column {', '.join(names)} of the data ({config.form})"]
    training = (", to be fine-tuned first" if config.finetune else "") + (
        f", once without each of {config.folds} folds" if config.folds else ""
    )
    return [f"teacher   {member.source}: {_shape(member.model)}{training}" for member in plan.members]


def _times_smaller(plan: Plan) -> str:
    whole = sum(member.model.num_parameters() for member in plan.members)
    return f", {whole / plan.student.num_parameters():.1f} times smaller" if whole else ""


def _teachers_view(plan: Plan) -> str:
    """Return how the teacher reads the rows."""
    reads = ", ".join(plan.recipe.teacher.text_columns or ["text"])
    has_own = any(member.tokenizer is not plan.tokenizer for member in plan.members)
    lengths = ", ".join(str(length) for length in dict.fromkeys(member.max_length for member in plan.members))
    return f"; the teacher reads {reads} {'by its own tokenizer ' if has_own else ''}cut after {lengths}"


def labels_text(data: PreparedData) -> str:
    """Return what each label id of the data means, the first of many, for a plan; nothing where there are no names."""
    names = data.id_names or data.label_names
    meaning = ", ".join(f"{index} = {shown(name, 50)[1:-1]}" for index, name in enumerate(names[:MOST_LABELS]))
    more = f", … ({len(names):,} labels)" if len(names) > MOST_LABELS else ""
    return f", labels {meaning}{more}" if names else ""


def _shape(model: PreTrainedModel) -> str:
    layers, width = (getattr(model.config, name, None) for name in ("num_hidden_layers", "hidden_size"))
    size = f"{layers} layers x {width}, " if layers and width else ""
    return f"{model.config.model_type}, {size}{model.num_parameters() / 1e6:.1f}M parameters"
