"""What is refused, stage by stage, and in which words; what is wrong with a single cell is said where it is read."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from datasets import Dataset, Json

from distilnlp.data.config import SPLIT_KEYS, DataConfig
from distilnlp.data.parts import values_of
from distilnlp.data.source_columns import LabelCheck, candidates, innermost, is_list, is_text
from distilnlp.errors import DistillationError, did_you_mean, shown

TASK_KEYS = ("label_names", "choice_columns", "stride", "mask_probability")  # that only some tasks read
KINDS: dict[type, str] = {str: "text", bool: "true or false", list: "a list", dict: "an object"}


# ---- The section ----


def check_section(config: DataConfig, task: str, own_keys: Collection[str]) -> None:
    """Refuse keys that mean nothing for a task, and a split in `data.source` that nothing reads."""
    for key in TASK_KEYS:
        if key not in own_keys and getattr(config, key) != DataConfig.model_fields[key].default:
            raise DistillationError(f"data.{key} means nothing for {task}. Leave it out.")
    known = list(dict.fromkeys(["train", *config.wanted_splits]))
    for name in config.source if isinstance(config.source, dict) else ():
        if name not in known:
            raise DistillationError(
                f"data.source names the split {name!r}, but only {known} are read.{did_you_mean(name, known)} Rename "
                "it, or name it in data.train_split, data.test_split or data.validation_split."
            )


def check_splits_differ(config: DataConfig) -> None:
    """Refuse two keys that name one split."""
    named = {key: getattr(config, key) for key in SPLIT_KEYS}
    for key, name in named.items():
        others = [other for other, value in named.items() if value == name and other != key]
        if name is not None and others:
            raise DistillationError(
                f"data.{key} and data.{others[0]} are both {name!r}: what is trained or chosen on a split cannot be "
                "tested on it. Name another split, or leave one out."
            )


# ---- Columns ----


def require_column(dataset: Dataset, name: str, key: str, where: str = "") -> None:
    """Raise a `DistillationError` that names the recipe's `key` if the data set has no such column.

    Args:
        dataset: the rows.
        name: the column.
        key: what names it.
        where: how the message begins, if the rows are not those of `data.source`.
    """
    if name not in dataset.column_names:
        raise DistillationError(
            f"{where}{key} names the column {name!r}, but the data has {shown(dataset.column_names)}."
            f"{did_you_mean(name, dataset.column_names)} Set {key}."
        )


def check_types(
    dataset: Dataset, config: DataConfig, label: str | None = None, label_checks: Sequence[LabelCheck] = ()
) -> None:
    """Refuse columns of several types, where they may be read, and a label column that does not fit the task.

    Args:
        dataset: rows of a source.
        config: names the columns that are read; all may be where it names none.
        label: the label column, if it is read.
        label_checks: of its type.
    """
    named = [label, *(config.text_columns or dataset.column_names), *(config.choice_columns or ())]
    for name, feature in dataset.features.items():
        if name in named and isinstance(innermost(feature), Json):  # so the library reads JSON of several types
            is_settled = name == label or config.text_columns
            _check_one_type(
                dataset, name, "" if is_settled else " If it is not read, name in data.text_columns what is."
            )
    for fits, message in label_checks if label in dataset.column_names else ():
        if not fits(dataset.features[label]):
            raise DistillationError(f"label column {label!r} " + message.replace("%s", shown(dataset.features[label])))


def _check_one_type(dataset: Dataset, name: str, hint: str) -> None:
    counts: Counter[str] = Counter()
    first: dict[str, tuple[int, Any]] = {}
    for row, (value,) in enumerate(values_of(dataset, name)):
        for entry in _entries(value, dataset.features[name]):
            kind = KINDS.get(type(entry), "a number")
            counts[kind] += 1
            first.setdefault(kind, (row, entry))
    if len(first) < 2:
        return
    rare = min(reversed(first), key=counts.__getitem__)
    others = " or ".join(kind for kind in first if kind != rare)
    row, entry = first[rare]
    raise DistillationError(
        f"column {name!r} holds {others}, but row {row} (counted from 0) holds {rare}, {shown(entry)}. Give all its "
        f"values one type, such as text in quotation marks.{hint}"
    )


def _entries(value: Any, feature: Any) -> Iterator[Any]:
    """Yield the values in lists, at any depth that the type of a column has, nulls aside."""
    if is_list(feature):
        for entry in value or ():
            yield from _entries(entry, feature.feature)
    elif value is not None:
        yield value


def check_text_columns(dataset: Dataset, wanted: Sequence[str], label: str, choices: Sequence[str] = ()) -> None:
    """Refuse a column that is missing, is the label column, or holds something else than text."""
    if label in wanted:
        raise DistillationError(f"{label!r} is the label column: the answer cannot be a text column too.")
    for name in wanted:
        require_column(dataset, name, "data.text_columns")
        if not is_text(dataset.features[name]):
            texts = candidates(dataset, is_text, (), {label, *choices})
            raise DistillationError(
                f"text column {name!r} must hold text, but it holds {shown(dataset.features[name])}. "
                f"The text columns of the data are {shown(texts)}; name one of them in data.text_columns."
            )


def check_teachers_columns(
    dataset: Dataset, texts: Sequence[str], answers: Sequence[str], label: str, where: str = ""
) -> None:
    """Refuse training rows without the columns that the teacher reads, and a teacher that would read the label."""
    if label in texts:
        raise DistillationError(
            f"teacher.text_columns names the label column {label!r}: the teacher would read the answer. Remove it."
        )
    for name in texts:
        require_column(dataset, name, "teacher.text_columns", where)
    for name in answers:
        require_column(dataset, name, "teacher.column", where)


# ---- Rows ----


def require_rows(rows: Sequence[int] | Dataset, what: str) -> None:
    """Refuse a data set, or a part of one, that has no rows."""
    if len(rows) == 0:
        raise DistillationError(f"there are no {what} rows. Check the source and its labels, or name another split.")
