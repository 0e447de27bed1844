"""A teacher that is an estimator of scikit-learn, or of anything with its interface."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from distilnlp.errors import DistillationError, shown
from distilnlp.tasks import Task, columns_of
from distilnlp.teachers.given import GivenTeacher, Numbers, plain, require_columns

TRIED_ROWS = 2  # asked for before any training


class EstimatorTeacher(GivenTeacher):
    """A fitted estimator that answers while rows become batches: scikit-learn, CatBoost, LightGBM, XGBoost.

    In classification its `predict_proba` is asked, in regression `predict`. For multi-label classification the former
    may give `[rows, labels]`, or a list of `[rows, 2]`, one for each label. The probabilities become logits as those
    of a `ColumnTeacher`. What is predicted for a row is predicted anew in every epoch: `predicted_column` saves that.

    Args:
        estimator: fitted. Its `classes_` are the label names, or the ids 0…C−1, in any order; for multi-label
            classification they may be a list of [0, 1], one for each label, in the order of `label_names`.
        task: single-label or multi-label classification or regression, or the name of one.
        label_names: label names in the order of the logits; None for regression. It need not be the student's order.
        feature_columns: the columns that it reads. A single column of text is passed as a list of strings, everything
            else as a pandas DataFrame with these columns in this order.

    Raises:
        DistillationError: an estimator that is not fitted, lacks the method, or has other classes; see `GivenTeacher`.
    """

    def __init__(
        self, estimator: Any, task: Task | str, label_names: Sequence[str] | None, feature_columns: str | Sequence[str]
    ) -> None:
        self._features = [feature_columns] if isinstance(feature_columns, str) else list(feature_columns)
        if not self._features:
            raise DistillationError("feature_columns is empty: name the columns that the estimator reads.")
        predicts_scores = getattr(task, "name", task) == "regression"
        super().__init__(self._features, task, label_names, "logits" if predicts_scores else "probabilities")
        self._estimator = estimator
        self._method = "predict" if predicts_scores else "predict_proba"
        if not hasattr(estimator, self._method):
            raise DistillationError(
                f"the estimator needs the method {self._method} for {self.profile.task}, but {shown(estimator)} has "
                "none. Use one that has it; CalibratedClassifierCV gives probabilities to a classifier without."
            )
        self._positions = [] if predicts_scores else _positions(estimator, self.profile.label_names or (), self._answer)

    def check_rows(self, dataset: Any, split: str) -> None:
        """Refuse rows without the columns or with null for a text, and try the first rows; a stream passes.

        Raises:
            DistillationError: a column is absent, a text is null, or the estimator's answer cannot be.
        """
        if not isinstance(dataset, Dataset):
            return
        require_columns(dataset, self.columns, split)
        column, first_row = self._features[0], 0
        is_text = getattr(dataset.features[column], "dtype", None) in ("string", "large_string")
        for table in columns_of(dataset, column) if is_text and len(self._features) == 1 else ():
            null = pc.is_null(table[column]).to_numpy()
            if null.any():
                raise DistillationError(
                    f"the estimator needs a text in every row, but row {first_row + int(null.argmax())} of column "
                    f"{column!r} of the {split} data is null. Give the text, or leave the row out."
                )
            first_row += len(table)
        rows = dataset.with_format(None).select(range(min(len(dataset), TRIED_ROWS)))
        if len(rows):
            self._to_logits(self.predict(rows[:]), self._place("the estimator's answer"))

    def predict(self, columns: Mapping[str, Sequence[Any]]) -> Numbers:
        """Return what the estimator predicts, float64 `[rows, labels]` in the order of the label names; not checked.

        Args:
            columns: the values of each feature column.

        Raises:
            DistillationError: the answer has another shape.
        """
        values = {name: list(columns[name]) for name in self._features}
        only = values[self._features[0]]
        is_text = len(values) == 1 and all(isinstance(value, str) for value in only)
        answer = getattr(self._estimator, self._method)(only if is_text else pd.DataFrame(values))
        result = self._ordered(answer)
        if result.shape != (len(only), self.profile.num_labels):
            raise DistillationError(
                f"{self._method} must give {self.profile.num_labels} numbers for each of {len(only)} rows, but what it "
                f"gives has the shape {result.shape}. Check the task and the label names of the estimator."
            )
        return result

    def _logits_of(self, rows: list[Mapping[str, Any]]) -> NDArray[np.float32]:
        values = self.predict({name: [plain(row[name]) for row in rows] for name in self._features})
        return self._to_logits(values, self._place("the estimator's answer"))

    def _ordered(self, answer: Any) -> Numbers:
        """Return an answer with the labels in their order."""
        if self._method == "predict":
            answer = np.asarray(answer, dtype=np.float64)
            return answer[:, None] if answer.ndim == 1 else answer
        is_nested = _is_nested(self._estimator.classes_)
        if isinstance(answer, list):  # of [rows, 2], one for each label
            positions = self._positions if is_nested else [1] * len(answer)
            return np.stack([part[:, place] for part, place in zip(answer, positions, strict=True)], axis=1)
        answer = np.asarray(answer, dtype=np.float64)
        fits = answer.shape[1:] == (len(self._positions),) and not is_nested  # a chain of classifiers: both
        return answer[:, self._positions] if fits else answer


def predicted_column(
    estimator: Any,
    dataset: Dataset,
    task: Task | str,
    label_names: Sequence[str] | None,
    feature_columns: str | Sequence[str],
    name: str = "teacher_probabilities",
) -> Dataset:
    """Return the data set with an estimator's predictions as a column, for a `ColumnTeacher`: predicted once for all.

    Args:
        estimator: see `EstimatorTeacher`, also for the arguments not listed here.
        task: in regression the column holds scores (`form="logits"`), else probabilities.
        label_names: their order in the column.
        name: of the new column.

    Raises:
        DistillationError: as `EstimatorTeacher` does, for any of the rows; or there is such a column already.
    """
    if not isinstance(dataset, Dataset):
        raise DistillationError(
            f"a column can be added to a datasets.Dataset, but this is of type {type(dataset).__name__}. Use an "
            "EstimatorTeacher, which answers while rows become batches."
        )
    if name in dataset.column_names:
        raise DistillationError(f"the data has a column {name!r} already. Remove it, or choose another name.")
    teacher = EstimatorTeacher(estimator, task, label_names, feature_columns)
    teacher.check_rows(dataset, "given")
    values: list[list[float]] = []
    for table in columns_of(dataset, *teacher.columns):
        answers = teacher.predict(table.to_pydict())
        teacher._to_logits(answers, teacher._place("the estimator's answer", len(values)))  # refuses what cannot be
        values += answers.tolist()
    is_score = teacher.profile.task == "regression"
    return dataset.add_column(name, [value for [value] in values] if is_score else values)


def _positions(estimator: Any, names: Sequence[str], answer: str) -> list[int]:
    """Return for each label where its probability stands: among the classes, or in the label's own array."""
    classes = getattr(estimator, "classes_", None)
    if classes is not None and _is_nested(classes):
        own = [np.asarray(part).tolist() for part in classes]
        if answer == "binary" and len(own) == len(names) and all(sorted(part) == [0, 1] for part in own):
            return [part.index(1) for part in own]
    elif classes is not None:
        found = np.asarray(classes).tolist()
        wanted: list[object] = list(names)
        ids = list(map(str, range(len(names))))
        # Names that are numbers, but not their ids, leave unclear what a number means.
        if all(type(value) is int for value in found) and (sorted(names) != sorted(ids) or wanted == ids):
            wanted = list(range(len(names)))
        if len(found) == len(wanted) and set(found) == set(wanted):
            return [found.index(value) for value in wanted]
    raise DistillationError(
        f"the estimator's classes must be the labels {list(names)}, or their ids from 0 to {len(names) - 1}, but its "
        f"classes_ are {shown(classes, 300)}. Fit it first, on rows of every label, or pass the label names that it "
        "was fitted with."
    )


def _is_nested(classes: object) -> bool:
    """Whether classes are a list for each label."""
    return isinstance(classes, list) and any(np.ndim(part) for part in classes)
