"""Teachers of every kind, behind one protocol."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from distilnlp.errors import DistillationError, shown
from distilnlp.teachers.averaged import AveragedModel
from distilnlp.teachers.collator import Collate, DistillationCollator, LookUp
from distilnlp.teachers.columns import ColumnTeacher
from distilnlp.teachers.cross_fitted import CrossFittedTeacher
from distilnlp.teachers.ensemble import EnsembleTeacher
from distilnlp.teachers.estimator import EstimatorTeacher, predicted_column
from distilnlp.teachers.live import LiveTeacher, has_untrained_head
from distilnlp.teachers.own_encoding import OwnEncodingTeacher
from distilnlp.teachers.protocol import LookupTeacher, Teacher
from distilnlp.teachers.reordered import in_label_order

__all__ = [
    "AveragedModel",
    "Collate",
    "ColumnTeacher",
    "CrossFittedTeacher",
    "DistillationCollator",
    "EnsembleTeacher",
    "EstimatorTeacher",
    "LiveTeacher",
    "LookUp",
    "LookupTeacher",
    "OwnEncodingTeacher",
    "Teacher",
    "as_teacher",
    "has_untrained_head",
    "in_label_order",
    "predicted_column",
]


def as_teacher(teacher: object, dtype: str | None = "auto") -> Teacher:
    """Turn a transformers model, a `Teacher`, or a list of these, into a teacher; a `LiveTeacher` has the dtype.

    Raises:
        DistillationError: it is none of these.
    """
    if isinstance(teacher, PreTrainedModel):
        return LiveTeacher(teacher, dtype)
    if isinstance(teacher, Sequence) and not isinstance(teacher, str):
        return EnsembleTeacher([as_teacher(member, dtype) for member in teacher])
    if isinstance(teacher, Teacher) and not isinstance(teacher, type):
        return teacher
    raise DistillationError(
        "teacher_model must be a transformers model, a list of them, or an object with the Teacher protocol "
        f"(columns, profile, to, __call__), but it is {type(teacher).__name__}: {shown(teacher, 80)}. Load the model "
        "first, for example with AutoModelForSequenceClassification.from_pretrained."
    )
