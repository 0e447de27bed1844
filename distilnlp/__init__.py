"""Distil a Hugging Face classifier into a small, fast student that loads anywhere."""

from importlib.metadata import version

from distilnlp.arguments import DistillationTrainingArguments
from distilnlp.errors import DistillationError, NonFiniteLossError
from distilnlp.objective import LossConfig, Objective
from distilnlp.signals import SignalProfile, SignalRequest, Signals
from distilnlp.students import build_student
from distilnlp.teachers import EnsembleTeacher, LiveTeacher, Teacher
from distilnlp.trainer import DistillationTrainer

__all__ = [
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
    "Teacher",
    "build_student",
]

__version__ = version("distilnlp")
