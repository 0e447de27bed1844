"""Prepare a run's data: normalised splits, the transfer set joined in, and a fingerprint of the content."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets

from distilnlp.data.config import SPLIT_KEYS, USUAL_SPLITS, DataConfig
from distilnlp.data.row_format import Layout, RowFormat
from distilnlp.data.source_columns import LabelColumn, check_types, require_column, with_usual_names
from distilnlp.data.sources import load_source
from distilnlp.data.teacher_columns import SCORES
from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.files import digest
from distilnlp.signals import ANSWER, SOURCE_ROW

logger = logging.getLogger(__name__)

TASK_KEYS = (
    "label_names",
    "label_separator",
    "choice_columns",
    "stride",
    "mask_probability",
)  # that only some tasks read


@dataclass(frozen=True)
class PreparedData:
    """Normalised splits; see the row format for their columns.

    Attributes:
        train: labelled and unlabelled rows.
        test: labelled rows that no training sees.
        validation: labelled rows for evaluation during training, if there are any.
        label_names: in the order of the models' logits; empty for a task without names.
        rows: the row format.
        id_names: what the bare label ids of the data mean, if it has such; the order may be another than that of
            `label_names`.
        answers: a teacher's answers in `training`, in `validation` and in every transfer set, each with the number of
            its row there, also of rows that are held out; none where no columns of answers are named.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None
    label_names: list[str]
    rows: RowFormat
    id_names: Sequence[str] = ()
    answers: Mapping[str, Dataset] = field(default_factory=dict)

    @cached_property
    def labelled(self) -> Dataset:
        """The training rows that have a label."""
        return labelled_rows(self.train, self.rows)


def prepare_data(
    config: DataConfig,
    rows: RowFormat,
    teacher_label_names: Sequence[str] | None,
    teacher_texts: Sequence[str] | None = None,
    answers: Sequence[str] = (),
) -> PreparedData:
    """Load, check and split the data of a recipe.

    Args:
        config: the recipe's `data` section.
        rows: the row format of the task.
        teacher_label_names: the fine-tuned teacher's labels in logit order; None = it is yet to be trained. A task
            without label names does not look at them.
        teacher_texts: columns that the teacher reads instead of the student's; training rows must have them.
        answers: the column that holds the teacher's answers, or one a label; training rows must have them.

    Raises:
        DistillationError: missing columns or splits, empty splits, labels that do not fit the task or the teacher,
            columns of another type.
    """
    _check_splits_differ(config)
    splits = _Splits.load(config, rows, teacher_label_names)
    source = splits.named(config.train_split, "data.train_split")
    test, validation = splits.roles()
    layout = splits.find_layout([config.train_split, *([test] if test else [])], teacher_label_names)
    layout = replace(layout, teacher_texts=tuple(teacher_texts or ()), answers=tuple(answers))
    _check_teachers_columns(source, layout)

    whole = train = rows.normalise(source, layout, "training")
    transfer = [part for name in config.unlabelled for part in _load_transfer_set(name, layout, config, rows)]
    if test is None:
        train, tested = _hold_out(whole, config, rows)
    else:
        tested = splits.labelled(test, replace(layout, answers=()))
    checked = None if validation is None else splits.labelled(validation, layout)
    _require_rows(train, "training")
    kinds = {part.features.get(ANSWER) == SCORES: name for name, part in [("training", train), *transfer]}
    if len(kinds) > 1:
        raise DistillationError(
            f"the teacher's answers must be alike in all training data, but the column of the {kinds[True]} data names "
            f"labels with their scores, and that of the {kinds[False]} data does not. Convert teacher.column."
        )
    joined = concatenate_datasets([train, *(part for _, part in transfer)])
    _warn_of_overlap(joined, tested, rows)

    parts = [("training", whole), *transfer, *([] if checked is None else [("validation", checked)])]
    given = {name: part.select_columns([ANSWER, SOURCE_ROW]) for name, part in parts if ANSWER in part.features}
    own_names = LabelColumn(source, layout.label).names if layout.label in source.column_names else None
    return PreparedData(
        train=_without(joined, SOURCE_ROW),
        test=_without(tested, SOURCE_ROW),
        validation=None if checked is None else _without(checked, SOURCE_ROW),
        label_names=list(layout.label_names),
        rows=rows,
        id_names=(layout.label_names and own_names) or layout.given_names or layout.label_names,
        answers=given,
    )


def evaluation_split(config: DataConfig, rows: RowFormat, label_names: Sequence[str]) -> Dataset:
    """Load the labelled rows of one split, normalised: `test_split`, else test, else validation, else `train_split`.

    Args:
        config: where the rows are.
        rows: the row format of the model's task.
        label_names: the model's labels in logit order; empty for a task without names.

    Raises:
        DistillationError: no such split or column, or no labelled rows, or labels that the model does not have.
    """
    splits = _Splits.load(config, rows, label_names)
    name = splits.find("test_split", config.train_split, config.validation_split) or config.train_split
    splits.named(name, "data.test_split")
    return splits.labelled(name, splits.find_layout([name], label_names))


def fingerprint(rows: Dataset | None) -> str:
    """Return a hash of the content of rows: the same for the same rows, wherever they came from."""
    batches = () if rows is None else rows.with_format(None).iter(batch_size=1000)
    return digest(json.dumps(batch, ensure_ascii=False).encode() for batch in batches).hex()


def labelled_rows(dataset: Dataset, rows: RowFormat) -> Dataset:
    """Return the rows, normalised or tokenised, that have a label; all of them where the task needs none."""
    return dataset.select(np.flatnonzero(rows.is_labelled(dataset))) if rows.needs_labels else dataset


@dataclass(frozen=True)
class _Splits:
    """The splits of `data.source`, one row an example, their columns checked; and which of them is for what.

    Attributes:
        loaded: by name.
        config: names them.
        rows: the row format of the task.
        label: the label column, whether there or not.
        wanted: names of splits that may be read.
    """

    loaded: DatasetDict
    config: DataConfig
    rows: RowFormat
    label: str
    wanted: list[str]

    @classmethod
    def load(cls, config: DataConfig, rows: RowFormat, teacher_names: Sequence[str] | None) -> "_Splits":
        """Load the source, as far as it is read.

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
        loaded = DatasetDict({name: _as_meant(split, rows, config, teacher_names) for name, split in source.items()})
        names = [config.label_column] if config.label_column else rows.usual_labels
        present = [name for name in names if any(name in split.column_names for split in loaded.values())]
        label = [*present, *names][0]
        for split in loaded.values():
            check_types(split, config, *((label, rows.label_checks) if rows.needs_labels else ()))
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
                is_meant = isinstance(self.config.source, dict) or not self.rows.needs_labels
                split = self.loaded[name]
                if is_meant or (self.label in split.column_names and self.rows.has_labels(split, self.label)):
                    return name
                logger.warning(
                    "the split %s has no labels, or hidden ones, in %r, so it is passed over", name, self.label
                )
        return None

    def find_layout(self, names: Sequence[str], teacher_names: Sequence[str] | None) -> Layout:
        """Return the columns of the first of some splits, and the label names of the first that has labels."""
        parts = [self.loaded[name] for name in names]
        layout = self.rows.find_layout(parts[0], self.config, self.label)
        if not self.rows.needs_labels:
            return layout
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
        """Return the normalised rows of a split that have a label.

        Raises:
            DistillationError: there are none, or a column does not fit.
        """
        columns = self.loaded[name].column_names
        if self.rows.needs_labels and layout.label not in columns:
            raise DistillationError(
                f"the split {name!r} has no labels in column {layout.label!r}: its columns are {shown(columns)}."
                f"{did_you_mean(layout.label, columns)} Rename the column, or name another split."
            )
        labelled = labelled_rows(self.rows.normalise(self.loaded[name], layout, name), self.rows)
        _require_rows(labelled, f"labelled {name}")
        return labelled


def _load_transfer_set(source: str, layout: Layout, config: DataConfig, rows: RowFormat) -> list[tuple[str, Dataset]]:
    """Return the normalised rows of every split of a transfer set, by name, without the labels that it may have."""
    parts, splits = [], load_source(source, form=config.file_form)
    for split, dataset in splits.items():
        name = f"unlabelled ({source}{f', split {split}' if len(splits) > 1 else ''})"
        texts = _without(_as_meant(_without(dataset, layout.label), rows, config), layout.label)
        check_types(texts, config)
        own = rows.unlabelled_layout(texts, layout)
        if own is None:
            raise DistillationError(
                f"the unlabelled source {source} must have the text columns {[*layout.texts, *layout.choices]}, but it "
                f"has {shown(texts.column_names)}. Rename its columns."
            )
        _check_teachers_columns(texts, layout, f"(for the unlabelled source {source}) ")
        parts.append((name, rows.normalise(texts, own, name)))
    return parts


def _as_meant(split: Dataset, rows: RowFormat, config: DataConfig, teacher_names: Sequence[str] = ()) -> Dataset:
    """Return the rows of a source by the names of columns, and in the form, that a recipe or the task knows."""
    looked_for = rows.looked_for(config)
    named = with_usual_names(split.with_format(None), looked_for)
    return with_usual_names(rows.unfold(named, config, teacher_names), looked_for)


def _hold_out(train: Dataset, config: DataConfig, rows: RowFormat) -> tuple[Dataset, Dataset]:
    """Return what stays of normalised training rows, and the labelled rows that are tested on.

    Raises:
        DistillationError: there are too few labelled rows, or too few of a class.
    """
    labelled = np.flatnonzero(rows.is_labelled(train))
    _require_rows(labelled, "labelled")
    strata = rows.strata(train)
    classes = None if strata is None else strata[labelled]
    from sklearn.model_selection import train_test_split  # takes a second to import

    try:
        _, held_out = train_test_split(labelled, test_size=config.test_size, random_state=config.seed, stratify=classes)
    except ValueError:  # in the words of scikit-learn's parameters
        needed, fix = "one row or more in both parts", "Add labelled rows"
        if classes is not None:
            sizes = np.unique(classes, return_counts=True)[1]
            needed = f"each of {len(sizes)} classes in both parts, the smallest of {sizes.min()} rows"
            fix = "Add rows of the small classes"
        raise DistillationError(
            f"cannot hold out {config.test_size:.0%} of {len(labelled)} labelled rows with {needed}. {fix}, change "
            "data.test_size, or give a test split."
        ) from None
    logger.info("there is no labelled test split: %d labelled rows are held out", len(held_out))
    kept = np.setdiff1d(np.arange(len(train)), held_out)
    # Rows that are picked are read one by one, wherever they are joined with others: so they are written anew.
    return train.select(kept).flatten_indices(), train.select(np.sort(held_out))


def _warn_of_overlap(train: Dataset, test: Dataset, rows: RowFormat) -> None:
    """Say how many normalised test rows are among the training rows."""
    keys = list(rows.keys(test))  # of the small part: the training rows may be many
    trained = set(keys).intersection(rows.keys(train))
    common = sum(key in trained for key in keys)
    if common:
        logger.warning(
            "%d of %d test texts are in the training data or the transfer set too: the figures flatter",
            common,
            len(test),
        )


def _check_splits_differ(config: DataConfig) -> None:
    """Refuse two keys that name one split."""
    named: dict[str, str] = {}
    for key in SPLIT_KEYS:
        name = getattr(config, key)
        if name in named:
            raise DistillationError(
                f"data.{named[name]} and data.{key} are both {name!r}: what is trained or chosen on a split cannot be "
                "tested on it. Name another split, or leave one out."
            )
        if name is not None:
            named[name] = key


def _check_teachers_columns(dataset: Dataset, layout: Layout, where: str = "") -> None:
    """Refuse training rows without the columns that the teacher reads, and a teacher that would read the label."""
    if layout.label in layout.teacher_texts:
        raise DistillationError(
            f"teacher.text_columns names the label column {layout.label!r}: the teacher would read the answer. Remove "
            "it."
        )
    for key, names in (("teacher.text_columns", layout.teacher_texts), ("teacher.column", layout.answers)):
        for name in names:
            require_column(dataset, name, key, where)


def _require_rows(rows: Sequence[int] | Dataset, what: str) -> None:
    if len(rows) == 0:
        raise DistillationError(f"there are no {what} rows. Check the source and its labels, or name another split.")


def _without(rows: Dataset, column: str) -> Dataset:
    return rows.remove_columns(column) if column in rows.column_names else rows
