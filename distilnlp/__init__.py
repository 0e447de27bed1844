"""Distil a Hugging Face encoder into a small, fast student that loads anywhere."""

from importlib.metadata import version

from distilnlp.arguments import DistillationTrainingArguments
from distilnlp.errors import DistillationError, NonFiniteLossError
from distilnlp.objective import LossConfig, Objective, parse_losses
from distilnlp.signals import SignalProfile, SignalRequest, Signals
from distilnlp.students import build_student, estimate_cost, trim_vocabulary
from distilnlp.tasks import TASKS, Task
from distilnlp.teachers import EnsembleTeacher, LiveTeacher, Teacher
from distilnlp.trainer import DistillationTrainer

__all__ = [
    "TASKS",
    "DistillationError",
    "DistillationTrainer",
    "DistillationTrainingArguments",
    "EnsembleTeacher",
    "LiveTeacher",
    "LossConfig",
    "NonFiniteLossError",
    "Objective",
    "SignalProfile",
    "SignalRequest",
    "Signals",
    "Task",
    "Teacher",
    "build_student",
    "estimate_cost",
    "parse_losses",
    "trim_vocabulary",
]

__version__ = version("distilnlp")
