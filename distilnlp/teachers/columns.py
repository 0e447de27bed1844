"""A teacher whose answers stand in a column of the data, whatever made them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from distilnlp.errors import DistillationError
from distilnlp.tasks import NUMBERS, Answer, Task, columns_of
from distilnlp.teachers.given import ANEW, SUM_TOLERANCE, Form, GivenTeacher, Numbers, Place, plain, require_columns

Rows = NDArray[np.int64]
Entries = tuple[Rows, pa.Array, Numbers]  # row, label and score of every entry of top-k answers, row by row


class ColumnTeacher(GivenTeacher):
    """Answers that stand in a column of the data, made by anything: CatBoost, scikit-learn, the API of an LLM.

    A row's answer is a list of one number for each label, in the order of `label_names` (`form`):

    - `"probabilities"`: of the classes; in multi-label classification the probability of each label by itself.
    - `"log_probabilities"`: their natural logarithms; −inf is a probability of zero.
    - `"logits"`: unbounded scores, taken as they are. The only form of regression: one number, the score itself.
    - `"top_k"`: a list of `{"label": name, "score": probability}`, as `pipeline("text-classification", top_k=k)` gives
      it, or a mapping of names to probabilities (null = not named). What the named classes leave of one is spread
      evenly over the others. In multi-label classification, where nothing is left over, every label must be named.

    Probabilities may lie 1e-3 outside 0…1, by rounding, and are clipped. Those of classes may add up to 0.99…1.01, and
    are divided by their sum. The logits are log p, or log(p / (1 − p)) for multi-label classification, with p at least
    1e-7 (and there at most 1 − 1e-7): so a probability of zero becomes a logit of −16.1, and every loss stays finite.

    Args:
        column: the column.
        task: single-label or multi-label classification or regression, or the name of one.
        label_names: label names in the order of the answers; None for regression. It need not be the student's order.
        form: what the answers are.

    Raises:
        DistillationError: see `GivenTeacher`.
    """

    def __init__(
        self, column: str, task: Task | str, label_names: Sequence[str] | None, *, form: Form = "probabilities"
    ) -> None:
        super().__init__([column], task, label_names, form)
        self._column = column

    def check_rows(self, dataset: Any, split: str) -> None:
        """Refuse, before any training, rows without a valid answer; a stream passes, and is checked as it runs.

        Raises:
            DistillationError: the column is absent, or a row's answer is null, has another number of values, or holds
                NaN, an infinite number, or something that is not a probability.
        """
        if not isinstance(dataset, Dataset):
            return
        require_columns(dataset, self.columns, split)
        first_row = 0
        for table in columns_of(dataset, self._column):
            self._check(table, self._place(f"column {self._column!r} of the {split} data", first_row))
            first_row += len(table)

    def check_numbered_rows(self, dataset: Dataset, numbers: str, name: str) -> None:
        """Refuse rows without a valid answer, as `check_rows` does, by numbers of their own.

        Args:
            dataset: has the column of answers.
            numbers: column of the numbers.
            name: what messages call the column of answers.
        """
        for table in columns_of(dataset, self._column, numbers):
            self._check(table, replace(self._place(name), numbers=table[numbers].to_numpy()))

    def _check(self, table: pa.Table, place: Place) -> None:
        self._to_logits(self._values(table[self._column].combine_chunks(), place), place)

    def _logits_of(self, rows: list[Mapping[str, Any]]) -> NDArray[np.float32]:
        place = self._place(f"column {self._column!r} of a batch")
        try:
            answers = pa.array([plain(row[self._column]) for row in rows])
        except (pa.ArrowException, TypeError) as error:
            raise place.error(f"its rows do not agree in type ({error})", "Give every row an answer alike.") from None
        return self._to_logits(self._values(answers, place), place)

    def _values(self, answers: pa.Array, place: Place) -> Numbers:
        """Return the answers of rows as numbers `[rows, classes]`, what top-k leaves out filled in."""
        place.refuse(_nulls(answers), lambda _: "has no answer: it is null", ANEW)
        if self._form != "top_k":
            return _dense(answers, self.profile.num_labels, place)
        names = list(self.profile.label_names or ())
        if pa.types.is_struct(answers.type):
            entries = _mapped(answers, place)
        elif _is_list(answers.type):
            entries = _listed(answers, place)
        else:
            raise _type_error(answers.type, place)
        values, named = _table(entries, (len(answers), len(names)), names, place)
        return _filled(values, named, self._answer, place)


# ---- From rows to numbers ----


def _nulls(values: pa.Array) -> NDArray[np.bool_]:
    return values.is_null().to_numpy(zero_copy_only=False)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _type_error(kind: pa.DataType, place: Place) -> DistillationError:
    return place.error(
        f"it holds {kind}", "Convert the column, or say what it holds with form (teacher.form in a recipe)."
    )


def _numbers(values: pa.Array, rows: Rows, place: Place) -> Numbers:
    """Return values as numbers; they lie in these rows."""
    place.refuse(_nulls(values), lambda _: "has a null among its values", ANEW, rows)
    if not len(values):
        return np.zeros(0)
    _require_numbers(values.type, place)
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _require_numbers(kind: pa.DataType, place: Place) -> None:
    if not (pa.types.is_null(kind) or any(is_kind(kind) for is_kind in NUMBERS)):
        raise _type_error(kind, place)


def _lengths(lists: pa.Array) -> Rows:
    return pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)


def _dense(answers: pa.Array, width: int, place: Place) -> Numbers:
    """Return lists of numbers as `[rows, width]`; of width one, bare numbers too."""
    if _is_list(answers.type):
        _require_numbers(answers.type.value_type, place)  # else the advice would be of their number
        lengths = _lengths(answers)
        place.refuse(lengths != width, lambda row: f"has {lengths[row]} values", "Give one value for each label.")
        answers = answers.flatten()
    elif width > 1:
        raise _type_error(answers.type, place)
    return _numbers(answers, np.arange(len(answers)) // width, place).reshape(-1, width)


# ---- Top-k answers ----


def _listed(answers: pa.Array, place: Place) -> Entries:
    """Return the entries of lists of `{"label", "score"}`."""
    rows, entries = np.repeat(np.arange(len(answers)), _lengths(answers)), answers.flatten()
    if not len(entries):
        return rows, pa.array([], pa.string()), np.zeros(0)
    if not pa.types.is_struct(entries.type) or {"label", "score"} - {field.name for field in entries.type}:
        raise _type_error(answers.type, place)
    labels, scores = pc.struct_field(entries, "label"), pc.struct_field(entries, "score")
    if not (pa.types.is_string(labels.type) or pa.types.is_large_string(labels.type)):
        raise _type_error(answers.type, place)
    return rows, labels.cast(pa.string()), _numbers(scores, rows, place)


def _mapped(answers: pa.Array, place: Place) -> Entries:
    """Return the entries of mappings, which Arrow holds as one column for each name: null where it is not named."""
    names, columns = [field.name for field in answers.type], answers.flatten()
    given = np.zeros((len(answers), len(names)), dtype=bool)
    scores = np.zeros(given.shape)
    for index, column in enumerate(columns):
        rows = np.flatnonzero(~_nulls(column))
        given[rows, index] = True
        scores[rows, index] = _numbers(column.drop_null(), rows, place)
    rows, chosen = np.nonzero(given)
    return rows, pa.array(names, pa.string()).take(pa.array(chosen)), scores[given]


def _table(entries: Entries, shape: tuple[int, int], names: list[str], place: Place) -> tuple[Numbers, NDArray]:
    """Return entries as scores `[rows, labels]`, and which of these were named."""
    rows, labels, scores = entries
    ids = pc.index_in(labels, value_set=pa.array(names)).fill_null(-1).to_numpy().astype(np.int64)

    def unknown(index: int) -> str:
        return f"names the label {labels[index].as_py()!r}, which is not one of them"

    place.refuse(ids < 0, unknown, "Rename it, or pass the label names that the answers use.", rows)
    repeated = np.ones(len(ids), dtype=bool)
    repeated[np.unique(rows * len(names) + ids, return_index=True)[1]] = False
    place.refuse(repeated, lambda index: f"names the label {names[ids[index]]!r} twice", "Keep one of them.", rows)
    values, named = np.zeros(shape), np.zeros(shape, dtype=bool)
    values[rows, ids], named[rows, ids] = scores, True
    return values, named


def _filled(values: Numbers, named: NDArray, answer: Answer, place: Place) -> Numbers:
    """Spread what the named classes leave of one evenly over the others."""
    place.refuse(~named.any(axis=1), lambda _: "names no label", ANEW)
    if answer == "binary":
        fix = "Ask for all of them: pipeline(..., top_k=None, function_to_apply='sigmoid')."
        place.refuse(~named.all(axis=1), lambda row: f"names only {named[row].sum()} labels", fix)
    rest, others = 1 - values.sum(axis=1), (~named).sum(axis=1)
    short = (rest < -SUM_TOLERANCE) & (answer == "categorical")
    place.refuse(short, lambda row: f"adds up to {1 - rest[row]:.4g}, more than one", "Give probabilities.")
    return np.where(named, values, (rest.clip(min=0) / others.clip(min=1))[:, None])
