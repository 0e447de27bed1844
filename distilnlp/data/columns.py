"""Find the columns that matter and turn labels into ids, by name."""

import re
from collections.abc import Sequence
from typing import Any

from datasets import ClassLabel, Dataset, Value

from distilnlp.errors import DistillationError, did_you_mean
from distilnlp.labels import NO_LABEL, label_order


def find_text_columns(dataset: Dataset, wanted: Sequence[str] | None, label_column: str) -> list[str]:
    """Return the text columns: those that were named, or the only one there is.

    Raises:
        DistillationError: a named column is missing or not text, or there is no single candidate.
    """
    candidates = [name for name in dataset.column_names if name != label_column and _is_text(dataset, name)]
    if wanted is None:
        if len(candidates) == 1:
            return candidates
        if "text" in candidates:
            return ["text"]
        raise DistillationError(
            f"expected one text column, but the data has {len(candidates)}: {candidates} (all columns: "
            f"{dataset.column_names}). Name one, or two for pairs, as data.text_columns."
        )
    if label_column in wanted:
        raise DistillationError(f"{label_column!r} is the label column: the answer cannot be a text column too.")
    for name in wanted:
        require_column(dataset, name, "data.text_columns")
        if not _is_text(dataset, name):
            raise DistillationError(
                f"text column {name!r} must hold text, but it holds {dataset.features[name]}. "
                f"The text columns of the data are {candidates}; name one of them in data.text_columns."
            )
    return list(wanted)


def require_column(dataset: Dataset, name: str, key: str) -> None:
    """Raise a `DistillationError` that names the recipe's `key` if the data set has no such column."""
    if name not in dataset.column_names:
        raise DistillationError(
            f"{key} names the column {name!r}, but the data has {dataset.column_names}."
            f"{did_you_mean(name, dataset.column_names)} Set {key}."
        )


def find_label_names(dataset: Dataset, column: str, given: Sequence[str] | None) -> list[str] | None:
    """Return the label names that the data itself states, or None for bare ids.

    They are the names of a ClassLabel, `given`, or the sorted distinct strings.
    """
    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        return list(feature.names)
    if given is not None:
        return list(given)
    if dataset.features[column].dtype == "bool":
        raise DistillationError(
            f"label column {column!r} holds true and false, which may be names or ids. Write the labels as other text, "
            "such as yes and no, or as the ids 0 and 1."
        )
    if _is_text(dataset, column):
        return sorted(set(dataset.unique(column)) - hidden_labels(dataset, column))
    return None


def check_label_column(dataset: Dataset, column: str) -> None:
    """Raise a `DistillationError` if a label column holds lists or mappings."""
    if column in dataset.column_names and not isinstance(dataset.features[column], ClassLabel | Value):
        raise DistillationError(
            f"label column {column!r} must hold one label a row, a name or an id, but it holds "
            f"{dataset.features[column]}. Convert it, or set data.label_column."
        )


def number_labels(dataset: Dataset, column: str) -> list[str]:
    """Name bare ids by their numbers, for a teacher that is yet to be trained.

    Raises:
        DistillationError: the ids are not 0, 1, … without a gap.
    """
    ids = sorted(value for value in dataset.unique(column) if value not in (None, NO_LABEL))
    if ids != list(range(len(ids))):
        raise DistillationError(
            f"label column {column!r} must hold ids 0, 1, … without a gap or names, but it holds {ids[:10]}. Use names "
            "(text) as labels."
        )
    return [str(index) for index in range(len(ids))]


def hidden_labels(dataset: Dataset, column: str) -> set[Any]:
    """Return the values that mark a row without a label: null, an empty text, -100, and the -1 of a ClassLabel."""
    return {None, "", NO_LABEL, -1} if isinstance(dataset.features[column], ClassLabel) else {None, "", NO_LABEL}


def encode_labels(dataset: Dataset, column: str, data_names: Sequence[str] | None, names: Sequence[str]) -> list[int]:
    """Return one label id a row in the order of `names`; -100 for a row without a label.

    Args:
        dataset: the rows.
        column: the label column; a data set without it has no labels at all.
        data_names: what ids in the data mean (see `find_label_names`); None = ids already mean `names`.
        names: label names in the order of the models' logits.

    Raises:
        DistillationError: a label that is not in `names`, or an id out of range.
    """
    if column not in dataset.column_names:
        return [NO_LABEL] * len(dataset)
    meaning = list(data_names) if data_names is not None else list(names)
    ids: dict[Any, int] = {name: index for index, name in enumerate(names)}
    lookup = (
        ids if _is_text(dataset, column) else {index: ids[name] for index, name in enumerate(meaning) if name in ids}
    )
    lookup |= dict.fromkeys(hidden_labels(dataset, column), NO_LABEL)
    unknown = [value for value in dataset.unique(column) if value not in lookup]
    if unknown:
        raise DistillationError(
            f"label column {column!r} holds {unknown[:5]}, but the labels are {list(names)} (ids 0, 1, …; "
            f"null or {NO_LABEL} = no label). Use the teacher's label names, or set data.label_names."
        )
    return [lookup[value] for value in dataset[column]]


def agree_on_labels(
    data_names: Sequence[str] | None, teacher_names: Sequence[str] | None, given: Sequence[str] | None, is_closed: bool
) -> list[str]:
    """Return the label names in logit order, after comparing what the data and the teacher call them.

    Args:
        data_names: names that the data states, or None for bare ids.
        teacher_names: the fine-tuned teacher's names in logit order; None for a teacher that is yet to be trained.
        given: `data.label_names`; it also names the logits of a teacher that has only placeholders.
        is_closed: the data states all its labels (ClassLabel, or names given), not only those that happen to occur.

    Raises:
        DistillationError: they name different labels, or the data names them and the teacher does not.
    """
    if teacher_names is None:
        return list(data_names or [])
    if given is not None and len(given) != len(teacher_names):
        raise DistillationError(
            f"data.label_names must have one name for each of the teacher's {len(teacher_names)} labels, but it has "
            f"{len(given)}: {list(given)}. Name them all, in the order of the teacher's logits."
        )
    if all(re.fullmatch(r"LABEL_\d+", name) for name in teacher_names):
        teacher_names = given or (teacher_names if data_names is None else None)
        if teacher_names is None:
            raise DistillationError(
                f"the data names its labels {list(data_names or [])}, but the teacher has only placeholders (LABEL_0, "
                "LABEL_1, …), so their order cannot be compared. Set data.label_names to the names in the order of the "
                "teacher's logits."
            )
    positions = [str(index) for index in range(len(teacher_names))]
    if data_names is None and all(name.isdigit() for name in teacher_names) and list(teacher_names) != positions:
        raise DistillationError(
            f"the data holds bare ids and the teacher's labels are the numbers {list(teacher_names)}: an id may mean a "
            "position or a name. Write the labels as text, or set data.label_names."
        )
    unknown = sorted(set(data_names or []) - set(teacher_names))
    if unknown and not is_closed:
        raise DistillationError(
            f"the data has the labels {unknown}, which the teacher does not know: its labels are {list(teacher_names)} "
            "(upper and lower case count). Rename them in the data, or use a teacher that was trained on them."
        )
    if data_names is not None and is_closed:
        label_order(data_names, teacher_names, "the data", "the teacher")
    return list(teacher_names)


def _is_text(dataset: Dataset, name: str) -> bool:
    feature = dataset.features[name]
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")
