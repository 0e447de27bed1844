"""The plan of a run: what its recipe leaves open, each part settled when it is first asked for, without any weights."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.answers.keeping import Keeping, decide_keeping, obstacle_in_rows
from distilnlp.data import PreparedData, assign_folds, prepare_data
from distilnlp.errors import DistillationError
from distilnlp.metrics import ExtraMetric, load_metrics
from distilnlp.models.loading import load_pretrained
from distilnlp.objective import Objective
from distilnlp.recipe.defaults import baseline_values, build_arguments, distill_values, finetune_values
from distilnlp.recipe.sections import Recipe
from distilnlp.runs.augmenting import augmented
from distilnlp.runs.folder import CACHE
from distilnlp.runs.graph import settled
from distilnlp.runs.lengths import readable_length
from distilnlp.runs.members import Member, in_labels_of_data, make_members
from distilnlp.runs.models import find_task, label_list, shape_of_finished, shape_of_new_head, shape_of_student
from distilnlp.runs.reading import Reader
from distilnlp.signals import FOLD, NO_FOLD, TEACHER_TEXT, SignalProfile
from distilnlp.students import Cost, estimate_cost, trim_vocabulary
from distilnlp.tasks import Task, profile_of
from distilnlp.training.arguments import DistillationTrainingArguments
from distilnlp.training.stopping import (
    HELD_OUT,
    OWN_LENGTH,
    VALIDATION,
    can_hold_out,
    learning_rate,
    longest_training,
    stopping_arguments,
)

IN_INT8 = "int8"  # the training that a student goes on with, rounded as int8 will round it
USUAL_WIDTH = 768  # of an encoder whose config does not say it


class Plan:
    """What a run will do. Models are shapes here: their weights are loaded by the steps that need them.

    Args:
        recipe: says what it says, and leaves the rest open.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    # ---- What is distilled, and from what ----

    @settled
    def task(self) -> Task:
        """What is distilled."""
        names, is_finished = self.recipe.teacher.models, not self.recipe.teacher.finetune
        return find_task(self.recipe.task, names[0] if names and is_finished else None, self.recipe.trust_remote_code)

    @settled
    def tokenizers(self) -> list[PreTrainedTokenizerBase]:
        """One a model of the teacher, its own."""
        trusted = self.recipe.trust_remote_code
        return [load_pretrained(AutoTokenizer, name, trusted) for name in self.recipe.teacher.models]

    @settled
    def finished_shapes(self) -> list[PreTrainedModel]:
        """The teacher's models with the labels that they came with; none where they are to be fine-tuned first."""
        config, trusted = self.recipe.teacher, self.recipe.trust_remote_code
        return [] if config.finetune else [shape_of_finished(name, self.task, trusted) for name in config.models]

    @settled
    def data(self) -> PreparedData:
        """Checked and split, with what augmentation adds and with the folds."""
        recipe, teacher = self.recipe, self.recipe.teacher
        labels = label_list(self.finished_shapes[0], self.task) if self.finished_shapes else None
        will_do = bool(self.finished_shapes)  # a finished teacher labels the rows
        data = prepare_data(recipe.data, self.task.rows, labels, teacher.text_columns, teacher.columns, will_do)
        data = augmented(recipe, data, self.tokenizers[0] if self.tokenizers else None)
        if teacher.folds is None:
            return data
        folds = assign_folds(data.train, data.rows, teacher.folds, recipe.seed)
        validation = data.validation
        if validation is not None:
            validation = validation.add_column(FOLD, np.full(len(validation), NO_FOLD))
        return replace(data, train=data.train.add_column(FOLD, folds), validation=validation)

    @settled
    def shapes(self) -> list[PreTrainedModel]:
        """The teacher's models with the data's labels; with new heads where they are to be fine-tuned."""
        config, names = self.recipe.teacher, self.data.label_names
        if self.finished_shapes:
            return in_labels_of_data(self.finished_shapes, names, self.recipe.data.label_names)
        return [shape_of_new_head(name, self.task, names, self.recipe.trust_remote_code) for name in config.models]

    @settled
    def members(self) -> tuple[Member, ...]:
        """The models of the teacher, and how each reads the rows; none where its answers stand in the data."""
        return make_members(self.recipe, self.task, self.shapes, self.tokenizers, self.tokenizer, self.max_length)

    # ---- The student ----

    @settled
    def _untrimmed(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The student before its vocabulary is trimmed: shape and tokenizer."""
        config = self.recipe.student
        if config.model is not None:
            student = shape_of_new_head(config.model, self.task, self.data.label_names, self.recipe.trust_remote_code)
            tokenizer = load_pretrained(AutoTokenizer, config.model, self.recipe.trust_remote_code)
        else:
            tokenizer = self.tokenizers[0]
            student = shape_of_student(config, self.shapes[0])
        return student, tokenizer

    @settled
    def _trimmed(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        student, tokenizer = self._untrimmed
        if not self.recipe.student.trim_vocabulary:
            return student, tokenizer
        return trim_vocabulary(student, tokenizer, self.task.rows.texts(self.data.train))

    @property
    def student(self) -> PreTrainedModel:
        """The shape that the student will have."""
        return self._trimmed[0]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The student's."""
        return self._trimmed[1]

    @settled
    def max_length(self) -> int:
        """Of the student's texts, in tokens."""
        asked, (student, tokenizer) = self.recipe.data.max_length, self._untrimmed
        lengths = [readable_length(asked, self.tokenizers[0], self.shapes[0])] if self.shapes else []
        return min([*lengths, readable_length(asked, tokenizer, student)])

    @property
    def reader(self) -> Reader:
        """How the student reads the rows."""
        return self.reader_of(self)

    def reader_of(self, model: "Plan | Member") -> Reader:
        """Return how a model reads the rows."""
        return Reader(self.task, self.recipe.data, model.tokenizer, model.max_length)

    # ---- The trainings ----

    @settled
    def trainings(self) -> dict[str, dict[str, Any]]:
        """The arguments of each training, of `student` and perhaps `teacher`, `baseline`, `int8`, of settled length."""
        recipe, labelled = self.recipe, len(self.data.labelled)
        trainings = {"student": distill_values(recipe)}
        if (recipe.teacher.finetune or recipe.baseline) and labelled == 0:
            raise DistillationError(
                "teacher.finetune and baseline learn from labelled rows, but none of the training rows has a label. "
                "Add some, or leave both out."
            )
        objective = trainings["student"]
        if not (objective.get("soft_loss_weight", 1) or objective.get("losses") or labelled):
            raise DistillationError(
                "the student has nothing to learn from: soft_loss_weight is 0, there are no losses, and none of the "
                "training rows has a label. Give one of them."
            )
        if recipe.teacher.finetune:
            width = max(getattr(shape.config, "hidden_size", USUAL_WIDTH) for shape in self.shapes)
            values = {"learning_rate": learning_rate(width), **finetune_values(recipe)}
            batch = values["per_device_train_batch_size"] * values.get("gradient_accumulation_steps", 1)
            epochs = longest_training(self._learned_by_teacher, len(self.data.label_names), batch)
            trainings["teacher"] = {"num_train_epochs": epochs, **values}
        if recipe.baseline:
            # At the most as many steps as the student takes, or the comparison would flatter the student.
            values = baseline_values(recipe)
            epochs = math.ceil(values["num_train_epochs"] * len(self.data.train) / labelled)
            is_settled = values.get("max_steps", -1) > 0 or "num_train_epochs" in _own_keys(recipe.baseline)
            trainings["baseline"] = values if is_settled else {**values, "num_train_epochs": epochs}
        if recipe.export.distil_int8:
            shorter = {"learning_rate": objective["learning_rate"] / 10, "num_train_epochs": 1, "max_steps": -1}
            trainings[IN_INT8] = objective | shorter
        metric = next(iter(self.task.evaluation.training_metrics(self._untrimmed[0].config)), "loss")
        for name in self.stopped:
            trainings[name] |= stopping_arguments(metric)
        return trainings

    def arguments_of(self, name: str) -> Any:
        """Return the arguments that a finished model was trained with; the student's in int8 with those of both."""
        own = self.trainings[name]
        return [own, self.trainings[IN_INT8]] if name == "student" and IN_INT8 in self.trainings else own

    @settled
    def stopped(self) -> dict[str, str]:
        """Which trainings end when their score stops rising, on the rows `VALIDATION` or `HELD_OUT`."""
        return {name: rows for name in ("teacher", "baseline") if (rows := self._stopped_on(name))}

    def _stopped_on(self, name: str) -> str | None:
        """Return the rows whose score ends a training; None where its length is given or no rows are left."""
        is_teacher, data = name == "teacher", self.data
        asked = self.recipe.teacher.finetune if is_teacher else self.recipe.baseline
        if not asked or _own_keys(asked) & OWN_LENGTH:
            return None
        is_read = not is_teacher or self.recipe.teacher.text_columns is None
        if data.validation is not None and (is_read or TEACHER_TEXT in data.validation.column_names):
            return VALIDATION
        learned = self._learned_by_teacher if is_teacher else len(data.labelled)
        return HELD_OUT if can_hold_out(learned, len(data.label_names)) else None

    @property
    def _learned_by_teacher(self) -> int:
        """How many of the labelled rows a teacher learns: all, or those of the other folds."""
        labelled, folds = len(self.data.labelled), self.recipe.teacher.folds
        return labelled if folds is None else labelled * (folds - 1) // folds

    @settled
    def student_args(self) -> DistillationTrainingArguments:
        """The arguments of the distillation."""
        return build_arguments(self.trainings["student"], self.recipe.seed, Path(self.recipe.output))

    @settled
    def objective(self) -> Objective:
        """What the student is trained for."""
        return self.student_args.build_objective(self.task, profile_of(self.student), self.teacher_profile)

    @settled
    def metrics(self) -> tuple[ExtraMetric, ...]:
        """Further ones that are measured at the end."""
        config, trusted = self._untrimmed[0].config, self.recipe.trust_remote_code
        return load_metrics(self.recipe.evaluation.metrics, self.task.evaluation, config, trusted)

    # ---- What follows from these ----

    @settled
    def cost(self) -> Cost:
        """What the student will cost, beside the first model of the teacher if there is one."""
        reference = self.members[0].model if self.members else None
        return estimate_cost(self.student, reference, length=self.max_length)

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

    @property
    def lengths(self) -> list[int]:
        """After how many tokens each model's texts are cut, the student's first."""
        return [self.max_length, *(member.max_length for member in self.members)]

    @settled
    def keeping(self) -> Keeping:
        """Whether the student learns from answers that are kept on disk, and where these lie."""
        return self.keeping_if_asked(False)

    def keeping_if_asked(self, is_asked_for: bool) -> Keeping:
        """Return the decision; `is_asked_for` says that the answers themselves are wanted."""
        args, rows = self.student_args, self.data.train
        given = "they stand in the data already" if self.recipe.teacher.columns else None
        return decide_keeping(
            args,
            self.task,
            self.objective,
            self.teacher_profile.num_labels,
            len(rows),
            Path(self.recipe.output) / CACHE,
            obstacle=given or obstacle_in_rows(self.task, [rows]),
            is_asked_for=is_asked_for,
        )


def evaluates(values: Mapping[str, Any]) -> bool:
    """Whether a training with these arguments evaluates."""
    return values.get("eval_strategy", "no") != "no" or bool(values.get("eval_on_start"))


def _own_keys(asked: bool | dict[str, Any]) -> set[str]:
    """Return the arguments that a recipe itself sets for a training."""
    return set(asked) if isinstance(asked, dict) else set()
