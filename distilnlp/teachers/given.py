"""What black-box teachers share: answers to whole texts are checked, become logits, and are looked up."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.signals import GIVEN_LOGITS, Batch, SignalProfile, SignalRequest, Signals
from distilnlp.tasks import TASKS, Answer, Task, task_named

Form = Literal["probabilities", "log_probabilities", "logits", "top_k"]
Numbers = NDArray[np.float64]

FLOOR = 1e-7  # of a probability: about the step of float32 below one, so that 0 and 1 are equally far from their ends
ROUNDING = 1e-3  # how far below zero or above one a probability may lie
SUM_TOLERANCE = 1e-2  # how far from one probabilities may add up to

CLASS_FORMS: tuple[Form, ...] = ("probabilities", "log_probabilities", "logits", "top_k")
FORMS: dict[Answer, tuple[Form, ...]] = {"categorical": CLASS_FORMS, "binary": CLASS_FORMS, "score": ("logits",)}
ANEW = "Predict the row anew, or leave it out."
SAY_FORM = "If these are numbers of another kind, say so with form (teacher.form in a recipe)."
MUST_ADD_UP = "Divide by the sum; if every label is a decision of its own, the task is multi_label_classification."


@dataclass(frozen=True)
class Place:
    """Where answers stand, for messages.

    Attributes:
        name: of what holds them.
        expected: what it must hold.
        first_row: the number of their first row.
        numbers: those of all their rows, if these do not count on from the first.
    """

    name: str
    expected: str
    first_row: int = 0
    numbers: NDArray[np.int64] | None = None

    def error(self, came: str, fix: str) -> DistillationError:
        """Return the error that says what came instead."""
        return DistillationError(f"{self.name} must hold {self.expected}, but {came}. {fix}")

    def refuse(
        self,
        bad: NDArray[np.bool_] | np.bool_,  # the latter for numpy's stubs alone: it may come of any(axis=1)
        came: Callable[[int], str],
        fix: str,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Raise a `DistillationError` for the first entry that is bad; entries are rows, or lie in these `rows`."""
        if bad.any():
            index = int(np.argmax(bad))
            row = index if rows is None else int(rows[index])
            number = self.first_row + row if self.numbers is None else self.numbers[row]
            raise self.error(f"row {number} {came(index)}", fix)


class GivenTeacher(ABC):
    """What the teachers share that look up answers to whole texts: they are checked, and become logits in the batch.

    Args:
        columns: what each row needs for its answer.
        task: the task, or its name.
        label_names: label names in the order of the answers; for regression None, or the one name.
        form: what the answers are; see `ColumnTeacher`.

    Raises:
        DistillationError: a task of something else than whole texts, or names or a form that do not fit it.
    """

    def __init__(self, columns: Sequence[str], task: Task | str, label_names: Sequence[str] | None, form: Form) -> None:
        task = task_named(task) if isinstance(task, str) else task
        names = _checked_names(task, label_names, form)
        self.columns = frozenset(columns)
        self.profile = SignalProfile(names or None, len(names) or 1, task=task.name)
        # Not the task: processes that load data get a copy of the teacher, and a task's functions cannot be pickled.
        self._answer: Answer = task.answer
        self._form = form

    def to(self, device: torch.device) -> None:  # noqa: B027 - there is nothing to move, in any of them
        """Do nothing: the answers come with the batch."""

    @abstractmethod
    def check_rows(self, dataset: Any, split: str) -> None:
        """Refuse rows without a valid answer; what cannot be read twice passes, and is checked when it is looked up."""

    @abstractmethod
    def _logits_of(self, rows: list[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Return the answers for rows that have the columns, `[rows, classes]`."""

    def look_up(self, rows: list[Mapping[str, Any]], batch: Batch) -> dict[str, Tensor]:
        """Return `given_logits`, float32 `[rows, classes]`; nothing for rows to evaluate on, which need no teacher.

        Raises:
            DistillationError: an answer that cannot be, or some rows have the teacher's columns and some do not.
        """
        complete = [self.columns <= row.keys() for row in rows]
        if not any(complete):
            return {}
        if not all(complete):
            raise DistillationError(
                f"every row needs the teacher's columns {sorted(self.columns)}, but a batch has rows with and without: "
                f"its row {complete.index(False)} has only {list(rows[complete.index(False)])}. Give all rows the same."
            )
        return {GIVEN_LOGITS: torch.from_numpy(self._logits_of(rows))}

    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the logits of the batch, without hidden states.

        Raises:
            DistillationError: more than logits is requested, or the rows of the batch had no answer.
        """
        if request.names:
            raise DistillationError(
                f"the objective needs the teacher's {' and '.join(request.names)}, but a {type(self).__name__} gives "
                "logits alone. Leave those losses out, or use a teacher that is a transformers model."
            )
        if GIVEN_LOGITS not in batch:
            raise DistillationError(
                f"the teacher's answers are looked up by the columns {sorted(self.columns)}, but the batch has no "
                f"{GIVEN_LOGITS!r}: these were absent from its rows. Give them to the data set, and keep them there."
            )
        return Signals(logits=batch[GIVEN_LOGITS])

    def _place(self, name: str, first_row: int = 0) -> Place:
        labels, width = shown(list(self.profile.label_names or ()), 300), self.profile.num_labels
        if self._answer == "score":
            return Place(name, "one number a row, the teacher's score", first_row)
        if self._form == "top_k":
            form = 'a list of {"label": name, "score": probability} a row, or a mapping of names to probabilities'
            return Place(name, f"{form}, for the labels {labels}", first_row)
        return Place(name, f"{width} {self._form.replace('_', '-')} a row, for the labels {labels} in order", first_row)

    def _to_logits(self, values: Numbers, place: Place) -> NDArray[np.float32]:
        """Check values `[rows, classes]` and return them as logits."""
        place.refuse(np.isnan(values).any(axis=1), lambda row: f"holds NaN: {_some(values[row])}", ANEW)
        if self._form == "log_probabilities":
            above = (values > ROUNDING).any(axis=1)
            place.refuse(above, lambda row: f"holds a log-probability above zero: {_some(values[row])}", SAY_FORM)
            values = np.exp(values.clip(max=0))
        if self._form != "logits":
            values = _as_logits(values, self._answer, place)
        with np.errstate(over="ignore"):
            logits = values.astype(np.float32)
        infinite = ~np.isfinite(logits).all(axis=1)
        place.refuse(infinite, lambda row: f"is not finite in float32: {_some(values[row])}", ANEW)
        return logits


def require_columns(dataset: Dataset, columns: frozenset[str], split: str) -> None:
    """Raise a `DistillationError` if a data set lacks a column that the teacher needs."""
    known = dataset.column_names
    for name in sorted(columns.difference(known)):
        raise DistillationError(
            f"the teacher needs the column {name!r}, but the {split} data has {known}.{did_you_mean(name, known)} Add "
            "the column, and keep it when the rows are tokenised."
        )


def plain(value: Any) -> Any:
    """Return a value without tensors or arrays, which a formatted data set gives."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {name: plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _checked_names(task: Task, label_names: Sequence[str] | None, form: str) -> tuple[str, ...]:
    """Return the label names, none for regression, if task and form are fit for given answers."""
    if not task.items_are_texts:
        fitting = [name for name, other in TASKS.items() if other.items_are_texts]
        raise DistillationError(
            f"answers to whole texts can be given for the tasks {fitting}, but this task is {task.name}. Use a "
            "teacher that is a transformers model."
        )
    forms = FORMS[task.answer]
    if form not in forms:
        raise DistillationError(
            f"form (teacher.form in a recipe) must be one of {list(forms)} for {task.name}, but it is {form!r}."
            f"{did_you_mean(form, forms)} Set it."
        )
    names = () if label_names is None else tuple(label_names)
    fewest = {"categorical": 2, "binary": 1, "score": 0}[task.answer]
    is_text = isinstance(label_names, str) or not all(isinstance(name, str) for name in names)
    too_many = task.answer == "score" and len(names) > 1
    if is_text or too_many or len(names) < fewest or len(set(names)) < len(names):
        wanted = "None or one name" if task.answer == "score" else f"a list of {fewest} or more different names"
        raise DistillationError(
            f"label_names must be {wanted} for {task.name}, but it is {shown(label_names)}. Name the labels in the "
            "order of the answers."
        )
    return names if task.has_label_names else ()


# ---- From numbers to logits ----


def _some(values: Numbers) -> str:
    return str([float(f"{value:.4g}") for value in values[:8]])


def _as_logits(given: Numbers, answer: Answer, place: Place) -> Numbers:
    """Return the logits of probabilities, which are made to lie in 0…1; those of classes, to have a sum of one."""
    outside = ((given < -ROUNDING) | (given > 1 + ROUNDING)).any(axis=1)
    place.refuse(outside, lambda row: f"holds something that is not a probability: {_some(given[row])}", SAY_FORM)
    values = given.clip(0, 1)
    if answer == "binary":
        values = values.clip(FLOOR, 1 - FLOOR)
        return np.log(values) - np.log1p(-values)
    total = values.sum(axis=1, keepdims=True)
    wrong = np.abs(total[:, 0] - 1) > SUM_TOLERANCE
    place.refuse(wrong, lambda row: f"adds up to {total[row, 0]:.4g}, not to one: {_some(given[row])}", MUST_ADD_UP)
    return np.log((values / total).clip(min=FLOOR))
