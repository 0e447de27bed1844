"""Prepare a run's data: normalised splits, the transfer set joined in, and a fingerprint of the content."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from distilnlp.data.columns import SCORES, refuse_mixed_types, require_column
from distilnlp.data.config import DataConfig
from distilnlp.data.label_names import LabelColumn
from distilnlp.data.rows import Layout, RowFormat
from distilnlp.data.sources import load_source
from distilnlp.data.splits import (
    check_split_names,
    check_splits_differ,
    find_test_split,
    find_validation_split,
    has_labels,
    say_roles,
    split_named,
    wanted_splits,
)
from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.files import digest
from distilnlp.signals.names import ANSWER, SOURCE_ROW

logger = logging.getLogger(__name__)

# Keys of the data section that only some tasks read.
TASK_KEYS = ("label_names", "choice_columns", "stride", "mask_probability")


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
    _check_keys(config, rows)
    check_splits_differ(config)
    splits, label = _load_splits(config, rows)
    train = split_named(splits, config.train_split, "data.train_split")
    test = find_test_split(splits, config, rows, label)
    validation = find_validation_split(splits, config, rows, label, test)
    say_roles(splits, config, test)
    layout = _find_layout([train] if test is None else [train, splits[test]], config, rows, label, teacher_label_names)
    layout = replace(layout, teacher_texts=tuple(teacher_texts or ()), answers=tuple(answers))
    _require_teachers_columns(train, layout)

    ready = whole = rows.normalise(train, layout, "training")
    unlabelled = [part for source in config.unlabelled for part in _load_unlabelled(source, layout, rows, config)]
    if test is None:
        ready, held_out = _hold_out(ready, config, rows)
    else:
        held_out = _labelled_split(splits, test, replace(layout, answers=()), rows)
    checked = None if validation is None else _labelled_split(splits, validation, layout, rows)
    _require_rows(ready, "training")
    numbered = _numbered_answers([("training", whole), *unlabelled, ("validation", checked)])
    ready = _joined([("training", ready), *unlabelled])
    _warn_of_overlap(ready, held_out, rows)
    checked = None if checked is None else _unnumbered(checked)
    own = LabelColumn(train, label).names if label in train.column_names and layout.label_names else None
    return PreparedData(
        train=_unnumbered(ready),
        test=_unnumbered(held_out),
        validation=checked,
        label_names=list(layout.label_names),
        rows=rows,
        id_names=own or layout.given_names or layout.label_names,
        answers=numbered,
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
    _check_keys(config, rows)
    splits, label = _load_splits(config, rows)
    name = find_test_split(splits, config, rows, label) or config.train_split
    layout = _find_layout([split_named(splits, name, "data.test_split")], config, rows, label, label_names)
    return _labelled_split(splits, name, layout, rows)


def labelled_rows(dataset: Dataset, rows: RowFormat) -> Dataset:
    """Return the rows, normalised or tokenised, that have a label; all of them where the task needs none."""
    return dataset.select(np.flatnonzero(rows.is_labelled(dataset))) if rows.needs_labels else dataset


def fingerprint(rows: Dataset | None) -> str:
    """Return a hash of the content of rows: the same for the same rows, wherever they came from."""
    batches = () if rows is None else rows.with_format(None).iter(batch_size=1000)
    return digest(json.dumps(batch, ensure_ascii=False).encode() for batch in batches).hex()


def _check_keys(config: DataConfig, rows: RowFormat) -> None:
    for key in TASK_KEYS:
        if key not in rows.own_keys and getattr(config, key) != DataConfig.model_fields[key].default:
            raise DistillationError(f"data.{key} means nothing for {rows.task}. Leave it out.")


def _load_splits(config: DataConfig, rows: RowFormat) -> tuple[DatasetDict, str]:
    """Return the splits, one row an example, and the name of their label column."""
    check_split_names(config)
    loaded = load_source(config.source, config.config, wanted_splits(config))
    splits = DatasetDict({name: rows.unfold(split.with_format(None)) for name, split in loaded.items()})
    names = [config.label_column] if config.label_column else rows.usual_labels
    present = [name for name in names if any(name in split.column_names for split in splits.values())]
    label = [*present, *names][0]
    for split in splits.values():
        _refuse_mixed(split, config, label if rows.needs_labels else None)
        if rows.needs_labels and label in split.column_names:
            rows.check_label_column(split, label)
    return splits, label


def _refuse_mixed(rows: Dataset, config: DataConfig, label: str | None = None) -> None:
    """Refuse columns of several types where they may be read: the named ones and the label, or all where none is."""
    named = [*(config.text_columns or rows.column_names), *(config.choice_columns or ())]
    hint = "" if config.text_columns else " If it is not read, name in data.text_columns what is."
    for name in [name for name in rows.column_names if name in (label, *named)]:
        refuse_mixed_types(rows, name, "" if name == label else hint)


def _find_layout(
    splits: Sequence[Dataset],
    config: DataConfig,
    rows: RowFormat,
    label: str,
    teacher_names: Sequence[str] | None,
) -> Layout:
    """Return the columns of the first split, and the label names of the first that has labels."""
    layout = rows.find_layout(splits[0], config, label)
    if not rows.needs_labels:
        return layout
    labelled = [split for split in splits if label in split.column_names]
    if not labelled:
        columns = splits[0].column_names
        raise DistillationError(
            f"no split has the label column {label!r}: the columns are {shown(columns)}.{did_you_mean(label, columns)} "
            "Set data.label_column, or add labelled rows: a run needs some to evaluate on."
        )
    best = next((split for split in labelled if has_labels(split, rows, label)), labelled[0])
    names = rows.find_label_names(LabelColumn(best, label), config.label_names, teacher_names)
    ids_mean = None if config.label_names is None else tuple(config.label_names)
    return replace(layout, given_names=ids_mean, label_names=tuple(names))


def _labelled_split(splits: DatasetDict, name: str, layout: Layout, rows: RowFormat) -> Dataset:
    """Return the normalised rows of a split that have a label; a `DistillationError` if there are none."""
    columns = splits[name].column_names
    if rows.needs_labels and layout.label not in columns:
        raise DistillationError(
            f"the split {name!r} has no labels in column {layout.label!r}: its columns are {shown(columns)}."
            f"{did_you_mean(layout.label, columns)} Rename the column, or name another split."
        )
    labelled = labelled_rows(rows.normalise(splits[name], layout, name), rows)
    _require_rows(labelled, f"labelled {name}")
    return labelled


def _load_unlabelled(source: str, layout: Layout, rows: RowFormat, config: DataConfig) -> list[tuple[str, Dataset]]:
    """Return the normalised rows of every split of a transfer set, by name, without the labels that it may have."""
    parts = []
    splits = load_source(source)
    for split, dataset in splits.items():
        name = f"unlabelled ({source}{f', split {split}' if len(splits) > 1 else ''})"
        texts = rows.unfold(dataset.with_format(None))
        texts = texts.remove_columns([name for name in [layout.label] if name in texts.column_names])
        _refuse_mixed(texts, config)
        own = rows.unlabelled_layout(texts, layout)
        if own is None:
            raise DistillationError(
                f"the unlabelled source {source} must have the text columns {[*layout.texts, *layout.choices]}, but it "
                f"has {shown(texts.column_names)}. Rename its columns."
            )
        _require_teachers_columns(texts, layout, f"(for the unlabelled source {source}) ")
        parts.append((name, rows.normalise(texts, own, name)))
    return parts


def _require_teachers_columns(train: Dataset, layout: Layout, where: str = "") -> None:
    if layout.label in layout.teacher_texts:
        raise DistillationError(
            f"teacher.text_columns names the label column {layout.label!r}: the teacher would read the answer. Remove "
            "it."
        )
    for key, names in (("text_columns", layout.teacher_texts), ("column", layout.answers)):
        for name in names:
            require_column(train, name, f"teacher.{key}", where)


def _numbered_answers(parts: Sequence[tuple[str, Dataset | None]]) -> dict[str, Dataset]:
    columns = [ANSWER, SOURCE_ROW]
    return {name: part.select_columns(columns) for name, part in parts if part is not None and _is_numbered(part)}


def _unnumbered(rows: Dataset) -> Dataset:
    return rows.remove_columns(SOURCE_ROW) if _is_numbered(rows) else rows


def _is_numbered(rows: Dataset) -> bool:
    return SOURCE_ROW in rows.column_names


def _joined(parts: Sequence[tuple[str, Dataset]]) -> Dataset:
    """Return the training rows and the transfer set as one."""
    naming = {part.features.get(ANSWER) == SCORES: name for name, part in parts}
    if len(naming) > 1:
        raise DistillationError(
            "the teacher's answers must be alike in all training data, but the column of the "
            f"{naming[True]} data names labels with their scores, and that of the {naming[False]} data does not. "
            "Convert teacher.column."
        )
    return concatenate_datasets([part for _, part in parts])


def _hold_out(train: Dataset, config: DataConfig, rows: RowFormat) -> tuple[Dataset, Dataset]:
    labelled = np.flatnonzero(rows.is_labelled(train))
    _require_rows(labelled, "labelled")
    strata = rows.strata(train)
    classes = None if strata is None else strata[labelled]
    try:
        _, held_out = train_test_split(labelled, test_size=config.test_size, random_state=config.seed, stratify=classes)
    except ValueError:  # in the words of scikit-learn's parameters
        raise DistillationError(_too_few(len(labelled), classes, config.test_size)) from None
    logger.info("there is no labelled test split: %d labelled rows are held out", len(held_out))
    kept = np.setdiff1d(np.arange(len(train)), held_out)
    # Rows that are picked are read one by one, wherever they are joined with others: so they are written anew.
    return train.select(kept).flatten_indices(), train.select(np.sort(held_out))


def _too_few(count: int, classes: NDArray | None, test_size: float) -> str:
    needed, fix = "one row or more in both parts", "Add labelled rows"
    if classes is not None:
        sizes = np.unique(classes, return_counts=True)[1]
        needed = f"each of {len(sizes)} classes in both parts, the smallest of {sizes.min()} rows"
        fix = "Add rows of the small classes"
    return (
        f"cannot hold out {test_size:.0%} of {count} labelled rows with {needed}. {fix}, change "
        "data.test_size, or give a test split."
    )


def _warn_of_overlap(train: Dataset, test: Dataset, rows: RowFormat) -> None:
    keys = list(rows.keys(test))  # of the small part: the training rows may be many
    tested = set(keys)
    trained = {key for key in rows.keys(train) if key in tested}
    common = sum(key in trained for key in keys)
    if common:
        logger.warning(
            "%d of %d test texts are in the training data or the transfer set too: the figures flatter",
            common,
            len(test),
        )


def _require_rows(rows: Sequence[int] | Dataset, what: str) -> None:
    if len(rows) == 0:
        raise DistillationError(f"there are no {what} rows. Check the source and its labels, or name another split.")
