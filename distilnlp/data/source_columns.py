"""The columns of a source that matter: its texts, its labels with what they mean, and which are refused."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Json, LargeList, List, Value, concatenate_datasets

from distilnlp.data.config import DataConfig
from distilnlp.data.parts import values_of
from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.labels import label_order
from distilnlp.signals import NO_LABEL, TEXT

logger = logging.getLogger(__name__)

# What a label column's type must be, and what is said of a column of another type, which stands for %s.
LabelCheck = tuple[Callable[[object], bool], str]
LISTS = (List, LargeList)
# What people call their labels.
LIKELY_LABELS = (
    *("label", "labels", "ner_tags", "tags", "answers", "target", "targets", "class", "category", "sentiment"),
    *("topic", "intent", "score", "rating", "stars"),
)
INDEX = re.compile(r"Unnamed: \d+|__index_level_\d+__")  # what pandas calls an index that it wrote as a column
SINGLE = (ClassLabel, Value)
KINDS: dict[type, str] = {str: "text", bool: "true or false", list: "a list", dict: "an object"}


# ---- Types ----


def is_text(feature: object) -> bool:
    """Whether a column holds text."""
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def is_text_list(feature: object) -> bool:
    """Whether a column holds lists of texts."""
    return isinstance(feature, LISTS) and is_text(feature.feature)


def is_empty(feature: object) -> bool:
    """Whether a column holds nothing but nulls, so that its type is unknown: it fits every task."""
    return isinstance(feature, Value) and feature.dtype == "null"


def may_be_label_list(feature: object) -> bool:
    """Whether a column holds lists of single values, or nothing."""
    return is_empty(feature) or (isinstance(feature, LISTS) and isinstance(feature.feature, SINGLE))


def innermost(feature: object) -> object:
    """Return the type of one entry of a column's lists, at any depth; of a column without lists its own."""
    while isinstance(feature, LISTS):
        feature = feature.feature
    return feature


# ---- Names ----


def with_usual_names(dataset: Dataset, wanted: Collection[str]) -> Dataset:
    """Return a data set whose columns have the names that are looked for.

    Names are compared without case and outer spaces where no column has the very name; `doc.body` is the field `body`
    in the objects of the column `doc`; an index that pandas wrote is no column, unless it is looked for.
    """
    index = [name for name in dataset.column_names if INDEX.fullmatch(name) and name not in wanted]
    dataset = dataset.remove_columns(index)
    for name in wanted:
        known = dataset.column_names
        alike = [column for column in known if column.strip().lower() == name.lower() and column not in wanted]
        if name not in known and len(alike) == 1:
            dataset = dataset.rename_column(alike[0], name)
        elif name not in known and "." in name:
            dataset = _with_field(dataset, name)
    return dataset


def _with_field(dataset: Dataset, name: str) -> Dataset:
    """Add what a dotted name says as a column; nothing where there is no such field."""
    column, *path = name.split(".")
    feature = dataset.features.get(column)
    for part in path:
        feature = feature.get(part) if isinstance(feature, dict) else None
    if feature is None:
        return dataset
    fields = dataset.select_columns([column])
    while name not in fields.column_names:
        fields = fields.flatten()
    return concatenate_datasets([dataset, fields.select_columns([name])], axis=1)


# ---- Texts ----


def find_text_columns(
    dataset: Dataset, wanted: Sequence[str] | None, label: str, taken: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the text columns: those that were named, or the only one there is, or the one that is called `text`.

    Args:
        dataset: the rows.
        wanted: `data.text_columns`.
        label, taken: columns that are something else, whatever they hold.

    Raises:
        DistillationError: none was named, and there is no single candidate.
    """
    found = wanted or candidates(dataset, is_text, (TEXT,), {label, *taken})
    if wanted is None and len(found) != 1:
        raise DistillationError(
            f"expected one text column, but the data has {len(found)}: {shown(found)} (all columns: "
            f"{shown(dataset.column_names)}). Name one, or two for pairs, as data.text_columns."
        )
    return tuple(found)


def candidates(
    dataset: Dataset, is_kind: Callable[[object], bool], usual: Sequence[str], taken: Collection[str]
) -> list[str]:
    """Return the columns of a kind that are not taken by something else; one alone if one has a usual name."""
    found = [name for name, feature in dataset.features.items() if name not in taken and is_kind(feature)]
    return [name for name in usual if name in found][:1] or found


# ---- What is refused ----


def require_column(dataset: Dataset, name: str, key: str, where: str = "") -> None:
    """Raise a `DistillationError` that names the recipe's `key`, after `where`, if the data set has no such column."""
    if name not in dataset.column_names:
        raise DistillationError(
            f"{where}{key} names the column {name!r}, but the data has {shown(dataset.column_names)}."
            f"{did_you_mean(name, dataset.column_names)} Set {key}."
        )


def check_types(
    dataset: Dataset, config: DataConfig, label: str | None = None, label_checks: Sequence[LabelCheck] = ()
) -> None:
    """Refuse columns of several types, where they may be read, and a label column that does not fit the task."""
    named = [label, *(config.text_columns or dataset.column_names), *(config.choice_columns or ())]
    for name, feature in dataset.features.items():
        if name in named and isinstance(innermost(feature), Json):  # so the library reads JSON of several types
            is_settled = name == label or config.text_columns
            hint = "" if is_settled else " If it is not read, name in data.text_columns what is."
            _check_one_type(dataset, name, hint)
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


def _entries(value: Any, feature: object) -> Iterator[Any]:
    """Yield the values in lists, at any depth that the type of a column has, nulls aside."""
    if isinstance(feature, LISTS):
        for entry in value or ():
            yield from _entries(entry, feature.feature)
    elif value is not None:
        yield value


# ---- Labels ----


# What `number_name` gives.
NUMBER_NAME = re.compile(r"-?\d+|true|false")


def number_name(value: float) -> str:
    """Return the name of a number, or of true and false: 1.0 is `1`."""
    return str(value).lower() if isinstance(value, bool) else str(int(value))


class LabelColumn:
    """The label column of a data set: one label a row, or lists of them. What is said of labels is said of one.

    Attributes:
        dataset: the rows.
        name: of the column.
        feature: the type of one label.
        is_text: whether labels are text.
        names: of a ClassLabel; None = it is none.
        are_targets: whether a label is an object with one number for each name.
        hidden: the values that mark a missing label: null, an empty text, -100, and the -1 of a ClassLabel.
    """

    def __init__(self, dataset: Dataset, name: str) -> None:
        self.dataset, self.name = dataset, name
        self.feature = innermost(dataset.features[name])
        self.is_text = is_text(self.feature)
        self.are_targets = isinstance(self.feature, dict)
        self.names: list[str] | None = list(self.feature.names) if isinstance(self.feature, ClassLabel) else None
        if isinstance(self.feature, dict):
            self.names = list(self.feature)
        self.hidden: set[Any] = {None, "", NO_LABEL} if self.names is None else {None, "", NO_LABEL, -1}

    @cached_property
    def labels(self) -> set[Any]:
        """The values that occur and are labels, read once: there may be millions of rows."""
        values: set[Any] = set()
        rows = self.dataset.select_columns([self.name]).with_format("arrow")
        for batch in rows.iter(batch_size=10_000):
            column, feature = batch[self.name], self.dataset.features[self.name]
            while isinstance(feature, LISTS):
                column, feature = pc.list_flatten(column), feature.feature
            for part in map(partial(pc.struct_field, column), feature) if isinstance(feature, dict) else [column]:
                values.update(pc.unique(part).to_pylist())
        return values - self.hidden

    def find_names(self, given: Sequence[str] | None) -> list[str] | None:
        """Return the label names that the data itself states, or None for bare ids.

        They are the names of a ClassLabel, `given`, or the sorted distinct texts.
        """
        if self.names is not None or given is not None:
            return list(self.names or given or ())
        if not self.is_text:
            return None
        padded = sorted(label for label in self.labels if label != label.strip())
        if padded:
            logger.info("outer blanks of the labels in %r are left out: %s", self.name, shown(padded))
        return sorted({label.strip() for label in self.labels} - {""})

    def names_of_numbers(self) -> list[str]:
        """Return numbers, or false and true, as names in their order, for a teacher that is yet to learn them.

        Raises:
            DistillationError: numbers with a fraction, which are scores.
        """
        values = sorted(self.labels)
        if broken := [value for value in values if float(value) != int(value)]:
            raise DistillationError(
                f"label column {self.name!r} holds numbers with a fraction, such as {broken[0]}, which are no classes. "
                "For scores set `task: regression`; for classes write names."
            )
        names = [number_name(value) for value in values]
        if names != [str(index) for index in range(len(names))]:
            logger.info("the labels %s of %r are read as names, in this order", shown(names), self.name)
        return names

    def agreed_names(
        self, data_names: Sequence[str] | None, teacher_names: Sequence[str] | None, given: Sequence[str] | None
    ) -> list[str]:
        """Return the label names in logit order, after comparing what the data and the teacher call them.

        Args:
            data_names: names that the data states, or None for bare ids.
            teacher_names: of a fine-tuned teacher, in logit order; None = it is still to be trained.
            given: `data.label_names`; it also names the logits of a teacher that has only placeholders.

        Raises:
            DistillationError: they name different labels, or the data names them and the teacher does not.
        """
        if teacher_names is None:
            return list(data_names or ())
        if given is not None and len(given) != len(teacher_names):
            raise DistillationError(
                f"data.label_names must have one name for each of the teacher's {len(teacher_names)} labels, but it "
                f"has {len(given)}: {shown(list(given))}. Name them all, in the order of the teacher's logits."
            )
        # So transformers calls labels without a name.
        if all(re.fullmatch(r"LABEL_\d+", name) for name in teacher_names):
            if given is None and data_names is not None:
                raise DistillationError(
                    f"the data names its labels {shown(list(data_names))}, but the teacher has only placeholders "
                    "(LABEL_0, LABEL_1, …), so their order cannot be compared. Set data.label_names to the names in "
                    "the order of the teacher's logits."
                )
            teacher_names = given or teacher_names
        positions = [str(index) for index in range(len(teacher_names))]
        if data_names is None and all(name.isdigit() for name in teacher_names) and list(teacher_names) != positions:
            raise DistillationError(
                f"the data holds bare ids and the teacher's labels are the numbers {shown(list(teacher_names))}: an id "
                "may mean a position or a name. Write the labels as text, or set data.label_names."
            )
        is_closed = given is not None or self.names is not None  # the data states all labels, not only those that occur
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
        if self.is_text:
            texts = {value: value if value in order else value.strip() for value in self.labels}
            known = {value: order.get(text, NO_LABEL) for value, text in texts.items() if text in order or not text}
        else:
            known = {id_: order[name] for id_, name in enumerate(meaning) if name in order}
        if self.are_named_by_themselves(given, names):
            known = {value: order[name] for value in self.labels if (name := number_name(value)) in order}
        unknown = [value for value in self.labels if value not in known]
        if unknown:
            raise DistillationError(
                f"label column {self.name!r} holds {shown(unknown)}, but the labels are {shown(list(names))} (ids 0, "
                f"1, …; null or {NO_LABEL} = no label). Use the teacher's label names, or set data.label_names."
            )
        return known | dict.fromkeys(self.hidden, NO_LABEL)

    def are_named_by_themselves(self, given: Sequence[str] | None, names: Sequence[str]) -> bool:
        """Whether numbers mean the names that they are, as `names_of_numbers` gives them, and not positions."""
        is_bare = not self.is_text and self.names is None and given is None
        are_positions = list(names) == [str(index) for index in range(len(names))]
        return is_bare and not are_positions and all(NUMBER_NAME.fullmatch(name) for name in names)

    def warn_of_ids(self, names: Sequence[str]) -> None:
        """Warn of bare ids that may count from 1, or be meant as the numbers in the names and not as positions."""
        if self.is_text or self.names is not None or self.are_named_by_themselves(None, names):
            return
        ids = sorted(self.labels)
        numbers = [re.findall(r"\d+", name) for name in names]
        in_names = [int(found[0]) for found in numbers if len(found) == 1]
        are_other_numbers = (
            len(in_names) == len(names) and in_names != list(range(len(names))) and set(ids) <= {*in_names}
        )
        if ids and 0 < ids[0] < len(names) and (ids[0] == 1 or are_other_numbers):
            logger.warning(
                "the label ids in %r, %s, are read as positions counted from 0, so that %d means %r: if they count "
                "from 1 or are numbers in the names, write the names instead",
                self.name,
                shown(ids),
                ids[0],
                names[int(ids[0])],
            )
