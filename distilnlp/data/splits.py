"""The splits of a source: loaded, their columns checked, and which of them is for what."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Value

from distilnlp.data.config import SPLIT_KEYS, USUAL_SPLITS, DataConfig
from distilnlp.data.parts import spread
from distilnlp.data.row_format import Layout, RowFormat
from distilnlp.data.source_columns import LIKELY_LABELS, LabelColumn, check_types, is_text, with_usual_names
from distilnlp.data.sources import load_source
from distilnlp.errors import DistillationError, did_you_mean, shown

logger = logging.getLogger(__name__)

# That only some tasks read.
TASK_KEYS = ("label_names", "label_separator", "choice_columns", "stride", "mask_probability")
SAMPLE = 1000  # rows in which a column that may hold labels is looked for
MOST_VALUES, MOST_WORDS = 50, 4  # of a column of classes


@dataclass(frozen=True)
class Splits:
    """The splits of `data.source`, one row an example, their columns checked; and which of them is for what.

    Attributes:
        loaded: by name.
        config: names them.
        rows: the row format of the task.
        label: the label column, whether there or not.
        wanted: names of splits that may be read.
        are_unlabelled: whether no split has a label, and none is needed.
    """

    loaded: DatasetDict
    config: DataConfig
    rows: RowFormat
    label: str
    wanted: list[str]
    are_unlabelled: bool = False

    @classmethod
    def load(
        cls,
        config: DataConfig,
        rows: RowFormat,
        teacher_names: Sequence[str] | None,
        may_be_unlabelled: bool = False,
    ) -> "Splits":
        """Load the source, as far as it is read.

        Args:
            config: names the splits.
            rows: the row format of the task.
            teacher_names: the label names of a fine-tuned teacher.
            may_be_unlabelled: whether rows without any label will do.

        Raises:
            DistillationError: it cannot be read, or names or types of its splits and columns do not fit the task.
        """
        for key in TASK_KEYS:
            if key not in rows.own_keys and getattr(config, key) != DataConfig.model_fields[key].default:
                raise DistillationError(f"data.{key} means nothing for {rows.task}. Leave it out.")
        named = [name for key in SPLIT_KEYS if (name := getattr(config, key)) is not None]
        wanted = list(dict.fromkeys([*named, *USUAL_SPLITS["test"], *USUAL_SPLITS["validation"]]))
        known = list(dict.fromkeys(["train", *wanted]))
        for name in config.source if isinstance(config.source, dict) else ():
            if name not in known:
                raise DistillationError(
                    f"data.source names the split {name!r}, but only {known} are read.{did_you_mean(name, known)} "
                    "Rename it, or name it in data.train_split, data.test_split or data.validation_split."
                )
        source = load_source(config.source, config.config, wanted, config.file_form)
        teacher_names = (teacher_names or ()) if rows.has_label_names else ()
        loaded = DatasetDict({name: as_meant(split, rows, config, teacher_names) for name, split in source.items()})
        names = [config.label_column] if config.label_column else rows.usual_labels
        present = [name for name in names if any(name in split.column_names for split in loaded.values())]
        label = [*present, *names][0]
        for split in loaded.values():
            check_types(split, config, *((label, rows.label_checks) if rows.needs_labels else ()))
        may_be_unlabelled &= rows.needs_labels and (config.label_column is None or bool(present))
        if may_be_unlabelled and not any(_has_labels(split, rows, label) for split in loaded.values()):
            loaded = DatasetDict({name: without(split, label) for name, split in loaded.items()})
            return cls(loaded, config, rows, label, wanted, are_unlabelled=True)
        return cls(loaded, config, rows, label, wanted)

    def named(self, name: str, key: str) -> Dataset:
        """Return a split; a `DistillationError` that names the recipe's `key` if there is none of the name."""
        if name not in self.loaded:
            known = list(self.loaded)
            raise DistillationError(
                f"the data has no split {name!r}: it has {shown(known)}.{did_you_mean(name, known)} Set {key}."
            )
        return self.loaded[name]

    def roles(self) -> tuple[str | None, str | None]:
        """Return which splits are for the test and for evaluation during training: those that are named, or the usual.

        It warns of splits that nothing reads, and of a validation split that must do for the test split.
        """
        config = self.config
        test = self.find("test_split", config.train_split, config.validation_split)
        validation = self.find("validation_split", config.train_split, test)
        others = [name for name in self.loaded if name not in self.wanted]
        if others:
            logger.warning("nothing reads the splits %s; data.test_split or data.validation_split can", shown(others))
        if config.test_split is None and test in USUAL_SPLITS["validation"]:
            logger.warning(
                "there is no labelled test split, so the split %s is what the run is measured on at its end, and not "
                "for evaluation during training",
                test,
            )
        return test, validation

    def find(self, key: str, *taken: str | None) -> str | None:
        """Return the split that a key names, or else a usual one that has labels; for the test validation may do."""
        if (given := getattr(self.config, key)) is not None:
            self.named(given, f"data.{key}")
            return given
        for kind in ("test", "validation") if key == "test_split" else ("validation",):
            names = [name for name in USUAL_SPLITS[kind] if name in self.loaded and name not in taken]
            if len(names) > 1:
                raise DistillationError(
                    f"the splits {names} may each be the {kind} split. Name one in data.{kind}_split, and leave the "
                    "other out."
                )
            for name in names:
                # Files that the user names as a split are meant, whatever they hold: what is wrong there is an error.
                is_meant = isinstance(self.config.source, dict) or not self.rows.needs_labels or self.are_unlabelled
                if is_meant or _has_labels(self.loaded[name], self.rows, self.label):
                    return name
                logger.warning(
                    "the split %s has no labels, or hidden ones, in %r, so it is passed over", name, self.label
                )
        return None

    def find_layout(self, names: Sequence[str], teacher_names: Sequence[str] | None) -> Layout:
        """Return the columns of the first of some splits, and the label names of the first that has labels."""
        parts = [self.loaded[name] for name in names]
        layout = self.rows.find_layout(parts[0], self.config, self.label)
        if not self.rows.needs_labels or self.are_unlabelled:
            names_known = teacher_names if self.rows.has_label_names else None
            for part in parts if self.are_unlabelled else ():
                _refuse_likely_labels(part, layout)
            return replace(layout, label_names=tuple(names_known or ()))
        labelled = [part for part in parts if self.label in part.column_names]
        if not labelled:
            columns = parts[0].column_names
            raise DistillationError(
                f"no split has the label column {self.label!r}: the columns are {shown(columns)}."
                f"{did_you_mean(self.label, columns)} Set data.label_column, or add labelled rows: a run needs some to "
                "evaluate on."
            )
        best = next((part for part in labelled if self.rows.has_labels(part, self.label)), labelled[0])
        given = self.config.label_names
        found = self.rows.find_label_names(LabelColumn(best, self.label), given, teacher_names)
        return replace(layout, given_names=None if given is None else tuple(given), label_names=tuple(found))

    def labelled(self, name: str, layout: Layout) -> Dataset:
        """Return the normalised rows of a split that have a label; all of them where no split has one.

        Raises:
            DistillationError: there are none, or a column does not fit.
        """
        columns = self.loaded[name].column_names
        if self.are_unlabelled:
            rows = self.rows.normalise(self.loaded[name], layout, name)
            require_rows(rows, name)
            return rows
        if self.rows.needs_labels and layout.label not in columns:
            raise DistillationError(
                f"the split {name!r} has no labels in column {layout.label!r}: its columns are {shown(columns)}."
                f"{did_you_mean(layout.label, columns)} Rename the column, or name another split."
            )
        labelled = labelled_rows(self.rows.normalise(self.loaded[name], layout, name), self.rows)
        require_rows(labelled, f"labelled {name}")
        return labelled


def labelled_rows(dataset: Dataset, rows: RowFormat) -> Dataset:
    """Return the rows, normalised or tokenised, that have a label; all of them where the task needs none."""
    return dataset.select(np.flatnonzero(rows.is_labelled(dataset))) if rows.needs_labels else dataset


def as_meant(split: Dataset, rows: RowFormat, config: DataConfig, teacher_names: Sequence[str] = ()) -> Dataset:
    """Return the rows of a source by the names of columns, and in the form, that a recipe or the task knows."""
    looked_for = rows.looked_for(config)
    named = with_usual_names(split.with_format(None), looked_for)
    return with_usual_names(rows.unfold(named, config, teacher_names), looked_for)


def without(rows: Dataset, column: str) -> Dataset:
    """Return rows without a column, which need not be there."""
    return rows.remove_columns(column) if column in rows.column_names else rows


def require_rows(rows: Sequence[int] | Dataset, what: str) -> None:
    """Refuse to go on without any of the rows that are called `what`."""
    if len(rows) == 0:
        raise DistillationError(f"there are no {what} rows. Check the source and its labels, or name another split.")


def _has_labels(split: Dataset, rows: RowFormat, label: str) -> bool:
    return label in split.column_names and rows.has_labels(split, label)


def _refuse_likely_labels(split: Dataset, layout: Layout) -> None:
    """Refuse rows that seem to have no label, if a column that nothing reads looks as if it held classes."""
    others = [name for name in split.column_names if name not in (*layout.texts, *layout.choices)]
    sample = spread(split, SAMPLE)
    named = [name for name in layout.texts if _is_named_so(name)]
    likely = [*named, *(name for name in others if _may_be_classes(sample, name))]
    if likely:
        raise DistillationError(
            f"no split has the label column {layout.label!r}: the columns are {shown(split.column_names)}, and "
            f"{likely[0]!r} looks as if it held labels. Set data.label_column to it if it does; if the rows have no "
            "labels, leave that column out, and the student is measured by how well it follows its teacher."
        )


def _is_named_so(name: str) -> bool:
    return bool({*re.split(r"\W+", name.lower())} & {*LIKELY_LABELS})


def _may_be_classes(sample: Dataset, name: str) -> bool:
    feature = sample.features[name]
    if isinstance(feature, ClassLabel) or _is_named_so(name):
        return True
    if not is_text(feature) and not (isinstance(feature, Value) and feature.dtype.startswith(("int", "bool"))):
        return False
    values = [value for value in sample[name][:] if value is not None]
    different = {*values}
    is_short = all(not isinstance(value, str) or 0 < len(value.split()) <= MOST_WORDS for value in different)
    return is_short and 2 <= len(different) <= min(MOST_VALUES, len(values) / 2)
