"""Labels: what marks an unknown one, and their names, which are compared wherever two sides must agree."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from datasets import ClassLabel, Dataset, IterableDataset, Value

from distilnlp.errors import DistillationError, shown
from distilnlp.signals import LABEL_COLUMNS, NO_LABEL, SignalProfile


def label_column(dataset: object) -> str | None:
    """Return the label column of a data set whose rows can be read more than once, or None if there is none."""
    if not isinstance(dataset, Dataset):
        return None
    found = (name for name in LABEL_COLUMNS if name in dataset.column_names)
    return next((name for name in found if getattr(dataset.features[name], "dtype", "") != "null"), None)


def label_of(row: Mapping[str, Any]) -> Any:
    """Return a row's label, None if it has none."""
    return next((row[name] for name in LABEL_COLUMNS if name in row), None)


def marked_ids(values: Iterable[int | None]) -> list[int]:
    """Return class ids with -100 in the place of null: no label."""
    return [NO_LABEL if value is None else value for value in values]


def marked_numbers(values: Iterable[float | None]) -> list[float]:
    """Return numbers with NaN in the place of null: no label."""
    return [math.nan if value is None else value for value in values]


def class_order(own: SignalProfile, wanted: SignalProfile, owner: str, wanted_owner: str) -> list[int] | None:
    """Return for each class of the wanted side its index in the own; None where both have one order.

    Classes without names are taken to be in the wanted order already: as many are all that can be known. The owners,
    such as "the teacher", say in a message whose classes they are.

    Raises:
        DistillationError: the two do not have the same labels.
    """
    if own.num_labels != wanted.num_labels:
        raise DistillationError(
            f"{owner} and {wanted_owner} must have the same labels, but {owner} has {own.num_labels} and "
            f"{wanted_owner} {wanted.num_labels}. Use models of one task: a student that is built from its teacher "
            "has its labels."
        )
    if own.label_names is None or wanted.label_names is None:
        return None
    return label_order(own.label_names, wanted.label_names, owner, wanted_owner)


def label_order(source: Sequence[str], target: Sequence[str], source_owner: str, target_owner: str) -> list[int] | None:
    """Return for each target label its index in the source, None where both have one order; owners as `class_order`.

    Raises:
        DistillationError: the two sides do not name the same labels.
    """
    if set(source) != set(target) or len(source) != len(target):
        only_source = sorted(set(source) - set(target))
        only_target = sorted(set(target) - set(source))
        raise DistillationError(
            f"{source_owner} and {target_owner} must name the same labels, but only {source_owner} has "
            f"{shown(only_source)} and only {target_owner} has {shown(only_target)}. Rename the labels in the data or "
            "in the config's id2label, so that both sides use the same names."
        )
    order = [list(source).index(name) for name in target]
    return None if order == sorted(order) else order


def align_dataset_labels(dataset: Any, label_names: Sequence[str] | None, num_labels: int, split: str) -> Any:
    """Return the data set with label ids that mean what the student's logits mean; other objects pass unchanged.

    Raises:
        DistillationError: the data names other labels than the student, or has a label id that the student lacks.
    """
    if not isinstance(dataset, Dataset | IterableDataset) or dataset.column_names is None:
        return dataset
    column = next((name for name in LABEL_COLUMNS if name in dataset.column_names), None)
    if column is None:
        return dataset
    feature = dataset.features[column]
    labels: Sequence[object] = []
    if isinstance(dataset, Dataset):  # a stream's labels are not known before it runs
        is_one_value = isinstance(feature, ClassLabel | Value)
        labels = dataset.unique(column) if is_one_value else dataset.with_format(None)[:5][column]
    unknown = [label for label in labels if label not in [None, NO_LABEL, *range(num_labels)]]
    if unknown:
        raise DistillationError(
            f"column {column!r} of the {split} data must hold class ids from 0 to {num_labels - 1}, or null or "
            f"{NO_LABEL} for a row without a label, but it holds {unknown[:5]}. Encode the labels as class ids, in the "
            "order of the student's id2label."
        )
    order = None
    if isinstance(feature, ClassLabel) and label_names is not None:
        order = label_order(feature.names, label_names, f"the {split} data", "the student")
    if order is None and None not in labels:
        return dataset
    return _renumber(dataset, column, order or list(range(num_labels)))


def _renumber(dataset: Any, column: str, order: list[int]) -> Any:
    """Give the labels new ids, and null, which few collators can take, its mark."""
    new_id = {old: new for new, old in enumerate(order)}

    def renumber(rows: dict[str, list[Any]]) -> dict[str, list[int]]:
        return {column: marked_ids(new_id.get(label, label) for label in rows[column])}

    features = dataset.features.copy()
    features[column] = Value("int64")  # a ClassLabel has no place for -100
    if isinstance(dataset, IterableDataset):
        return dataset.map(renumber, batched=True, features=features)
    row_format = dataset.format
    plain = dataset.with_format(None).map(renumber, batched=True, features=features, desc="Reordering labels")
    return plain.with_format(
        row_format["type"], row_format["columns"], row_format["output_all_columns"], **row_format["format_kwargs"]
    )
