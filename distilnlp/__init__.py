"""Distil a Hugging Face encoder into a small, fast student that loads anywhere."""

from importlib.metadata import version

from distilnlp.arguments import DistillationTrainingArguments
from distilnlp.augmentation import augment
from distilnlp.errors import DistillationError, NonFiniteLossError
from distilnlp.objective import LossConfig, Objective, parse_losses
from distilnlp.signals import SignalProfile, SignalRequest, Signals
from distilnlp.students import build_student, estimate_cost, trim_vocabulary
from distilnlp.tasks import TASKS, Task
from distilnlp.teachers import (
    CachedTeacher,
    ColumnTeacher,
    CrossFittedTeacher,
    EnsembleTeacher,
    EstimatorTeacher,
    LiveTeacher,
    LookupTeacher,
    OwnEncodingTeacher,
    Teacher,
    as_teacher,
    predicted_column,
)
from distilnlp.trainer import DistillationTrainer

__all__ = [
    "TASKS",
    "CachedTeacher",
    "ColumnTeacher",
    "CrossFittedTeacher",
    "DistillationError",
    "DistillationTrainer",
    "DistillationTrainingArguments",
    "EnsembleTeacher",
    "EstimatorTeacher",
    "LiveTeacher",
    "LookupTeacher",
    "LossConfig",
    "NonFiniteLossError",
    "Objective",
    "OwnEncodingTeacher",
    "SignalProfile",
    "SignalRequest",
    "Signals",
    "Task",
    "Teacher",
    "as_teacher",
    "augment",
    "build_student",
    "estimate_cost",
    "parse_losses",
    "predicted_column",
    "trim_vocabulary",
]

__version__ = version("distilnlp")
