"""Turn what a label column holds into ids, by name."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow.compute as pc
from datasets import ClassLabel, Dataset

from distilnlp.data.columns import is_list, is_text
from distilnlp.errors import DistillationError, shown
from distilnlp.labels import label_order
from distilnlp.signals.names import NO_LABEL

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelColumn:
    """The label column of a data set: one label a row, or lists of them. What is said of labels is said of one."""

    dataset: Dataset
    name: str

    @property
    def feature(self) -> Any:
        """The type of one label."""
        feature = self.dataset.features[self.name]
        while is_list(feature):
            feature = feature.feature
        return feature

    @property
    def is_text(self) -> bool:
        """Whether labels are text."""
        return is_text(self.feature)

    @property
    def names(self) -> list[str] | None:
        """The names of a ClassLabel."""
        return list(self.feature.names) if isinstance(self.feature, ClassLabel) else None

    @property
    def hidden(self) -> set[Any]:
        """The values that mark a missing label: null, an empty text, -100, and the -1 of a ClassLabel."""
        return {None, "", NO_LABEL, -1} if self.names is not None else {None, "", NO_LABEL}

    @cached_property
    def distinct(self) -> set[Any]:
        """The values that occur as labels, read once: there may be millions of rows."""
        values: set[Any] = set()
        rows = self.dataset.select_columns([self.name]).with_format("arrow")
        for batch in rows.iter(batch_size=10_000):
            column, feature = batch[self.name], self.dataset.features[self.name]
            while is_list(feature):
                column, feature = pc.list_flatten(column), feature.feature
            values.update(pc.unique(column).to_pylist())
        return values

    def find_names(self, given: Sequence[str] | None) -> list[str] | None:
        """Return the label names that the data itself states, or None for bare ids.

        They are the names of a ClassLabel, `given`, or the sorted distinct texts.
        """
        if self.names is not None:
            return self.names
        if given is not None:
            return list(given)
        if getattr(self.feature, "dtype", None) == "bool":
            raise DistillationError(
                f"label column {self.name!r} holds true and false, which may be names or ids. Write the labels as "
                "other text, such as yes and no, or as the ids 0 and 1."
            )
        return sorted(self.distinct - self.hidden) if self.is_text else None

    def number(self) -> list[str]:
        """Name bare ids by their numbers, for a teacher that is still to be trained.

        Raises:
            DistillationError: the ids are not 0, 1, … without a gap.
        """
        ids = sorted(self.distinct - self.hidden)
        if ids != list(range(len(ids))):
            raise DistillationError(
                f"label column {self.name!r} must hold ids 0, 1, … without a gap or names, but it holds {shown(ids)}. "
                "Use names (text) as labels."
            )
        return [str(index) for index in range(len(ids))]

    def ids(self, given: Sequence[str] | None, names: Sequence[str]) -> dict[Any, int]:
        """Return what each value that occurs means: its label id in the order of `names`, or -100.

        Args:
            given: `data.label_names`, what bare ids mean; None = they mean `names`.
            names: label names in the order of the models' logits.

        Raises:
            DistillationError: a label that is not in `names`, or an id out of range.
        """
        order: dict[Any, int] = {name: index for index, name in enumerate(names)}
        meaning = self.names or given or names
        known = order if self.is_text else {id_: order[name] for id_, name in enumerate(meaning) if name in order}
        known = known | dict.fromkeys(self.hidden, NO_LABEL)
        unknown = [value for value in self.distinct if value not in known]
        if unknown:
            raise DistillationError(
                f"label column {self.name!r} holds {shown(unknown)}, but the labels are {shown(list(names))} (ids 0, "
                f"1, …; null or {NO_LABEL} = no label). Use the teacher's label names, or set data.label_names."
            )
        return known


def find_label_names(
    column: LabelColumn, given: Sequence[str] | None, teacher_names: Sequence[str] | None
) -> list[str]:
    """Return the label names in logit order, agreed between the data, `data.label_names` and the teacher.

    Raises:
        DistillationError: they do not agree, or there are fewer than two labels.
    """
    data_names = column.find_names(given)
    _check_type(column)
    _warn_of_near_names(data_names or ())
    if data_names is None and teacher_names is None:
        data_names = column.number()
    is_closed = given is not None or column.names is not None
    names = agree_on_labels(data_names, teacher_names, given, is_closed)
    _warn_of_ids(column, given or names)
    if len(names) < 2:
        raise DistillationError(
            f"classification needs two labels or more, but the data has {shown(names)}. Check {column.name!r}."
        )
    return names


def _check_type(column: LabelColumn) -> None:
    strange = [value for value in column.distinct - column.hidden if not isinstance(value, str | int | float)]
    if strange:
        raise DistillationError(
            f"label column {column.name!r} must hold names or ids, but it holds {shown(strange[0])}. Write the labels "
            "as text."
        )


def _warn_of_near_names(names: Sequence[str]) -> None:
    """Warn of names that differ in case or outer blanks alone: they are likely one label, and count as several."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.strip().casefold(), []).append(name)
    for alike in (group for group in groups.values() if len(group) > 1):
        logger.warning("the labels %s differ in case or outer blanks alone, and count as several classes", shown(alike))


def _warn_of_ids(column: LabelColumn, names: Sequence[str]) -> None:
    """Warn of bare ids that may count from 1, or be meant as the numbers in the names and not as positions."""
    if column.is_text or column.names is not None:
        return
    ids = sorted(column.distinct - column.hidden)
    numbers = [re.findall(r"\d+", name) for name in names]
    in_names = [int(found[0]) for found in numbers if len(found) == 1]
    are_other_numbers = len(in_names) == len(names) and in_names != list(range(len(names))) and set(ids) <= {*in_names}
    if ids and 0 < ids[0] < len(names) and (ids[0] == 1 or are_other_numbers):
        logger.warning(
            "the label ids in %r, %s, are read as positions counted from 0, so that %d means %r: if they count from 1 "
            "or are numbers in the names, write the names instead",
            column.name,
            shown(ids),
            ids[0],
            names[int(ids[0])],
        )


def agree_on_labels(
    data_names: Sequence[str] | None, teacher_names: Sequence[str] | None, given: Sequence[str] | None, is_closed: bool
) -> list[str]:
    """Return the label names in logit order, after comparing what the data and the teacher call them.

    Args:
        data_names: names that the data states, or None for bare ids.
        teacher_names: the fine-tuned teacher's names in logit order; None for a teacher that is still to be trained.
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
            f"{len(given)}: {shown(list(given))}. Name them all, in the order of the teacher's logits."
        )
    if all(re.fullmatch(r"LABEL_\d+", name) for name in teacher_names):
        teacher_names = given or (teacher_names if data_names is None else None)
        if teacher_names is None:
            raise DistillationError(
                f"the data names its labels {shown(list(data_names or []))}, but the teacher has only placeholders "
                "(LABEL_0, LABEL_1, …), so their order cannot be compared. Set data.label_names to the names in the "
                "order of the teacher's logits."
            )
    positions = [str(index) for index in range(len(teacher_names))]
    if data_names is None and all(name.isdigit() for name in teacher_names) and list(teacher_names) != positions:
        raise DistillationError(
            f"the data holds bare ids and the teacher's labels are the numbers {shown(list(teacher_names))}: an id "
            "may mean a position or a name. Write the labels as text, or set data.label_names."
        )
    unknown = sorted(set(data_names or []) - set(teacher_names))
    if unknown and not is_closed:
        raise DistillationError(
            f"the data has the labels {shown(unknown)}, which the teacher does not know: its labels are "
            f"{shown(list(teacher_names))} (upper and lower case count). Rename them in the data, or use a teacher "
            "that was trained on them."
        )
    if data_names is not None and is_closed:
        label_order(data_names, teacher_names, "the data", "the teacher")
    return list(teacher_names)
