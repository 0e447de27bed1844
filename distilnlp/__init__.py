"""Distil a Hugging Face encoder into a small, fast student that loads anywhere."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distilnlp.answers import CachedTeacher
    from distilnlp.augmentation import augment
    from distilnlp.errors import DistillationError, NonFiniteLossError
    from distilnlp.objective import LossConfig, Objective, parse_losses
    from distilnlp.runs.api import DistillationResult, distill
    from distilnlp.signals import SignalProfile, SignalRequest, Signals
    from distilnlp.students import build_student, estimate_cost, trim_vocabulary
    from distilnlp.tasks import TASKS, Task
    from distilnlp.teachers import (
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
    from distilnlp.training.arguments import DistillationTrainingArguments
    from distilnlp.training.trainer import DistillationTrainer

    __version__: str

# The module of each public name. It is imported when the name is first asked for (PEP 562): torch and transformers take
# ten seconds, which `distilnlp --help` need not.
_MODULES = {
    "training.arguments": ("DistillationTrainingArguments",),
    "augmentation": ("augment",),
    "errors": ("DistillationError", "NonFiniteLossError"),
    "objective": ("LossConfig", "Objective", "parse_losses"),
    "runs.api": ("DistillationResult", "distill"),
    "signals": ("SignalProfile", "SignalRequest", "Signals"),
    "students": ("build_student", "estimate_cost", "trim_vocabulary"),
    "tasks": ("TASKS", "Task"),
    "answers": ("CachedTeacher",),
    "teachers": (
        "ColumnTeacher",
        "CrossFittedTeacher",
        "EnsembleTeacher",
        "EstimatorTeacher",
        "LiveTeacher",
        "LookupTeacher",
        "OwnEncodingTeacher",
        "Teacher",
        "as_teacher",
        "predicted_column",
    ),
    "training.trainer": ("DistillationTrainer",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "TASKS",
    "CachedTeacher",
    "ColumnTeacher",
    "CrossFittedTeacher",
    "DistillationError",
    "DistillationResult",
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
    "distill",
    "estimate_cost",
    "parse_losses",
    "predicted_column",
    "trim_vocabulary",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("distilnlp")
    elif name in _MODULE_OF:
        value = getattr(import_module(f"distilnlp.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module 'distilnlp' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
