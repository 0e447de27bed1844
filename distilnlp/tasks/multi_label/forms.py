"""The labels of a row as people write them: a column of 0 and 1 for each label, or one text with all names in it."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset, List, Value

from distilnlp.data import Columns, LabelColumn, Part, is_text, with_columns, with_written_values
from distilnlp.errors import DistillationError, shown

logger = logging.getLogger(__name__)

SEPARATORS = ("|", ";", ",")
LABELS = "labels"
NUMBERS = ("bool", "int", "uint", "float")


def is_targets(feature: Any) -> bool:
    """Whether a column holds an object a row with one number a label, such as `{"toxic": 1, "insult": 0}`."""
    return isinstance(feature, dict) and bool(feature) and all(map(_is_number, feature.values()))


def with_label_lists(
    dataset: Dataset, label: str | None, separator: str | None, names: Sequence[str], texts: Sequence[str]
) -> Dataset:
    """Return rows whose labels are a list, or an object of targets, whatever form they came in.

    Args:
        dataset: the rows.
        label: the label column; None = there is none, so that each label may have a column.
        separator: between names in one text; None = told from the rows.
        names: those that are known before: given, or the teacher's; none = what the data says.
        texts: columns that are texts.

    Raises:
        DistillationError: several separators would do, or a label's name holds the one that would.
    """
    if label is None:
        return _with_targets(dataset, names, texts)
    if not is_text(dataset.features[label]):
        return _with_fields(dataset, label, names)
    dataset = with_written_values(dataset, label)
    if not is_text(dataset.features[label]):
        return _with_fields(dataset, label, names)
    return _with_names(dataset, label, separator, names)


# ---- One text a row ----


def _with_names(dataset: Dataset, label: str, given: str | None, names: Sequence[str]) -> Dataset:
    column = LabelColumn(dataset, label)
    broken = sorted(text for text in column.labels if text.strip().startswith(("[", "{")))
    if broken and not {*broken} <= {*names}:
        raise DistillationError(
            f"some texts in {label!r} begin like lists or objects, such as {shown(broken[0])}, but not all of them are."
            ' Write all as lists, such as ["a", "b"], or all as names with a separator.'
        )
    separator = given or _separator(column, names)
    if separator is None:
        logger.info("%r holds text without a separator: every row is read as having one label", label)
    else:
        logger.info("the labels in %r are separated by %r", label, separator)
    feature = {label: List(Value("string"))}
    return with_columns(dataset, feature, [label], partial(_split, label, separator), f"Reading {label}")


def _separator(column: LabelColumn, names: Sequence[str]) -> str | None:
    """Return what separates names in the texts of a column; None where each is one name."""
    known = {name.strip() for name in names}
    texts = {text.strip() for text in column.labels}
    occur = [one for one in SEPARATORS if any(one in text for text in texts)]
    if texts <= known:
        return None
    fits = [one for one in occur if {part.strip() for text in texts for part in text.split(one)} <= known]
    in_names = sorted(name for name in known if any(one in name for one in occur))
    if len(fits) == 1 or (len(occur) == 1 and not in_names):
        return (fits or occur)[0]
    if not occur:
        return None
    example = next(text for text in sorted(texts) if any(one in text for one in occur))
    why = f"the names {shown(in_names)} hold one" if in_names else f"the texts hold {' and '.join(map(repr, occur))}"
    raise DistillationError(
        f"it is not clear what separates the labels in {column.name!r}, such as {shown(example)}, for {why}. Name it "
        "in data.label_separator, or write the labels of a row as a list."
    )


def _split(name: str, separator: str | None, part: Part) -> Columns:
    """Return the names in the texts of a label column; an empty text has no labels that are known."""
    rows = ([] if not text or text.isspace() else text.split(separator or "\0") for text in part.rows[name][:])
    return {name: [[own.strip() for own in names] or None for names in rows]}


# ---- One column a label, or one field ----


def _with_targets(dataset: Dataset, names: Sequence[str], texts: Sequence[str]) -> Dataset:
    """Return rows whose columns of 0 and 1 are one object of targets, `labels`; unchanged if there are not several."""
    are_known = bool(names) and {*names} <= {*dataset.column_names}
    found = list(names) if are_known else binary_columns(dataset, texts)
    if not are_known and len(found) < 2:
        return dataset
    logger.info("the columns %s are read as labels, 1 where a row has the label", shown(found))
    feature = {LABELS: {name: dataset.features[name] for name in found}}
    return with_columns(dataset, feature, found, partial(_objects, found), "Reading the labels")


def binary_columns(dataset: Dataset, texts: Sequence[str] = ()) -> list[str]:
    """Return the columns of numbers, or of true and false, that hold nothing but 0, 1 and null."""
    may_be = [name for name, feature in dataset.features.items() if name not in texts and _is_number(feature)]
    seen: dict[str, set[Any]] = {name: set() for name in may_be}
    if may_be:
        for batch in dataset.select_columns(may_be).with_format("arrow").iter(batch_size=10_000):
            for name in may_be:
                seen[name].update(pc.unique(batch[name]).to_pylist())
            may_be = [name for name in may_be if seen[name] <= {0, 1, None}]
    return [name for name in may_be if seen[name] - {None}]


def _with_fields(dataset: Dataset, label: str, names: Sequence[str]) -> Dataset:
    """Return rows whose objects of targets hold the names that are known, if they have all of these."""
    feature = dataset.features[label]
    if not is_targets(feature) or not names or not set(names) <= feature.keys() or list(names) == list(feature):
        return dataset
    kept = {label: {name: feature[name] for name in names}}
    return with_columns(dataset, kept, [label], partial(_fields, label, list(names)), f"Reading {label}")


def _objects(names: Sequence[str], part: Part) -> Columns:
    """Return one object a row of several columns."""
    columns = [part.rows[name][:] for name in names]
    return {LABELS: [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}


def _fields(label: str, names: Sequence[str], part: Part) -> Columns:
    """Return some fields of the objects of a column."""
    rows = part.rows[label][:]
    return {label: [row if row is None else {name: row[name] for name in names} for row in rows]}


def _is_number(feature: object) -> bool:
    return isinstance(feature, Value) and feature.dtype.startswith(NUMBERS)
