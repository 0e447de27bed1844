"""Labels of the rows of an evaluation: read, checked, and in one order for all models."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedConfig

from distilnlp.errors import DistillationError, NoLabelsError
from distilnlp.labels import class_order, label_of, marked_ids
from distilnlp.metrics.prediction import Rows
from distilnlp.signals import NO_LABEL, SignalProfile, label_names_of


def require_columns(examples: Rows, columns: Iterable[str], task: str) -> None:
    """Refuse rows that lack a column which the evaluation reads."""
    for name in columns:
        index = next((index for index, row in enumerate(examples) if name not in row), None)
        if index is not None:
            raise DistillationError(
                f"expected rows of {task} with the column {name!r}, but row {index} has only {sorted(examples[index])}."
                " Prepare the rows with the task's own tokenisation and keep all of its columns."
            )


def require_labelled(labelled: Sequence[bool] | NDArray, unit: str = "row") -> None:
    """Refuse units that all lack a label."""
    if not any(labelled):
        raise NoLabelsError(
            f"expected labelled {unit}s to evaluate on, but none of the {len(labelled)} {unit}s has a label. Name an "
            f"evaluation split whose {unit}s have labels."
        )


def read_class_ids(examples: Rows, config: PreTrainedConfig) -> NDArray:
    """Return the label ids `[items]` of the examples, checked, -100 where a label is null or absent."""
    labels = np.asarray(marked_ids(map(label_of, examples)))
    check_label_ids(labels, config.num_labels or 0)
    return labels


def check_label_ids(labels: NDArray, num_classes: int, unit: str = "row") -> None:
    """Refuse labels `[units]` that are not class ids, that the model has no class for, or that are all missing."""
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise DistillationError(
            f"expected one class id per {unit}, but the labels have the type {labels.dtype} and the shape "
            f"{labels.shape}. Encode each label as one whole number, for instance with the dataset's "
            "`class_encode_column`."
        )
    require_labelled(labels != NO_LABEL, unit)
    outside = np.unique(labels[(labels != NO_LABEL) & ((labels < 0) | (labels >= num_classes))])
    if len(outside):
        raise DistillationError(
            f"expected label ids from 0 to {num_classes - 1}, but the {unit}s hold {outside[:5].tolist()}. Evaluate on "
            "data with the model's own labels, or load the model with as many labels as the data has."
        )


def read_numbers(examples: Rows, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the labels `[items, *shape]` of rows that are labelled with numbers, NaN where one is null or absent.

    Raises:
        DistillationError: a label is not made of numbers, or has another shape.
    """
    values = map(label_of, examples)
    rows = [np.full(shape, np.nan) if value is None else _as_numbers(value) for value in values]
    if wrong := [row.shape for row in rows if row.shape != shape]:
        raise DistillationError(
            f"expected labels of the shape {shape}, but {len(wrong)} of {len(rows)} rows have others, such as "
            f"{wrong[0]}. Give a row one number for each output of the model."
        )
    return np.array(rows).reshape(len(rows), *shape)


def _as_numbers(value: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DistillationError(
            f"expected labels that are numbers, but a row has {value!r}. Encode the labels as numbers; null or NaN "
            "marks a missing one."
        ) from None


def align_classes(predictions: NDArray, own: PreTrainedConfig, first: PreTrainedConfig) -> NDArray:
    """Return logits `[..., classes]` with the classes in the order of the first model.

    A config without label names, only `LABEL_0`, `LABEL_1`…, is taken to be in that order already.

    Raises:
        DistillationError: the two models do not have the same labels.
    """
    order = order_of_classes(own, first)
    return predictions if order is None else np.take(predictions, order, axis=-1)


def order_of_classes(own: PreTrainedConfig, first: PreTrainedConfig) -> list[int] | None:
    """Return for each class of the first model its index in another one; see `class_order`."""
    mine, wanted = (SignalProfile(label_names_of(config), config.num_labels or 0) for config in (own, first))
    return class_order(mine, wanted, "one model", "the first model")


def labels_agree(first: Any, other: Any) -> bool:
    """Whether two readings of labels, arrays or lists of them, are the same; missing ones equal missing ones."""
    if isinstance(first, np.ndarray):
        return np.array_equal(first, other, equal_nan=first.dtype.kind == "f")
    if isinstance(first, list | tuple):
        return len(first) == len(other) and all(map(labels_agree, first, other))
    return bool(first == other)
