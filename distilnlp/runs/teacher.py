"""The teacher of a run, finished: one model, one a fold, an ensemble, or answers that stand in the data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from distilnlp.runs.members import column_teacher
from distilnlp.runs.models import load_labelled
from distilnlp.runs.plan import Plan
from distilnlp.teachers import (
    AveragedModel,
    CrossFittedTeacher,
    EnsembleTeacher,
    OwnEncodingTeacher,
    Teacher,
    as_teacher,
)


@dataclass(frozen=True)
class FinishedTeacher:
    """A teacher that needs no more training.

    Attributes:
        plan: of the run.
        folders: its folders or Hub ids, one a member or a fold; none where the answers stand in the data.
        identity: what tells its answers from another teacher's.
    """

    plan: Plan
    folders: tuple[Path | str, ...]
    identity: str

    def live(self, dtype: str) -> Teacher:
        """Return the teacher, its models in a dtype."""
        config = self.plan.recipe.teacher
        if config.columns:
            return column_teacher(self.plan.recipe, self.plan.task, self.plan.data.label_names)
        members = self._members(self._models(), dtype)
        if config.folds is not None:
            return CrossFittedTeacher(members)
        return members[0] if len(members) == 1 else self._mean(members)

    def judged(self) -> Any:
        """Return what is evaluated as one model: those of several folds answer by their mean."""
        models = self._models()
        return models[0] if len(models) == 1 else AveragedModel(models, self._mean(self._members(models, None)))

    def first(self) -> PreTrainedModel:
        """Return the model that a student is cut from, in float32, because it is to be trained."""
        return self._load(self.folders[0], dtype=torch.float32)

    def _models(self) -> list[PreTrainedModel]:
        return [self._load(folder) for folder in self.folders]

    def _load(self, folder: Path | str, **options: Any) -> PreTrainedModel:
        plan = self.plan
        return load_labelled(folder, plan.task, plan.data.label_names, plan.recipe.trust_remote_code, **options)

    def _members(self, models: list[PreTrainedModel], dtype: str | None) -> list[Teacher]:
        """Return a teacher for each model; the models of several folds all read what the one encoder reads."""
        teachers = [as_teacher(model, dtype) for model in models]
        if self.plan.recipe.teacher.folds is not None:
            return teachers
        prefixes = [member.prefix for member in self.plan.members]
        return [
            OwnEncodingTeacher(teacher, prefix) if prefix else teacher
            for teacher, prefix in zip(teachers, prefixes, strict=True)
        ]

    def _mean(self, members: list[Teacher]) -> EnsembleTeacher:
        config = self.plan.recipe.teacher
        return EnsembleTeacher(
            members,
            self.plan.task,
            average=config.average,
            weights=config.weights,
            by_confidence=config.by_confidence,
        )
