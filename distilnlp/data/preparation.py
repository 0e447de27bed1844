"""Prepare a run's data: normalised splits, the transfer set joined in, and a fingerprint of the content."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from datasets import Dataset, concatenate_datasets

from distilnlp.data.config import SPLIT_KEYS, DataConfig
from distilnlp.data.row_format import Layout, RowFormat
from distilnlp.data.source_columns import LabelColumn, check_types, require_column
from distilnlp.data.sources import load_source
from distilnlp.data.splits import Splits, as_meant, labelled_rows, require_rows, without
from distilnlp.data.teacher_columns import SCORES
from distilnlp.errors import DistillationError, shown
from distilnlp.files import digest
from distilnlp.signals import ANSWER, SOURCE_ROW

logger = logging.getLogger(__name__)


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
        are_unlabelled: whether no row has a label, not even those of the test.
        left_out: sentences about rows that were read and are not used.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None
    label_names: list[str]
    rows: RowFormat
    id_names: Sequence[str] = ()
    answers: Mapping[str, Dataset] = field(default_factory=dict)
    are_unlabelled: bool = False
    left_out: tuple[str, ...] = ()

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
    may_be_unlabelled: bool = False,
) -> PreparedData:
    """Load, check and split the data of a recipe.

    Args:
        config: the recipe's `data` section.
        rows: the row format of the task.
        teacher_label_names: the fine-tuned teacher's labels in logit order; None = it is yet to be trained. A task
            without label names does not look at them.
        teacher_texts: columns that the teacher reads instead of the student's; training rows must have them.
        answers: the column that holds the teacher's answers, or one a label; training rows must have them.
        may_be_unlabelled: whether rows without any label will do, as a finished teacher labels them.

    Raises:
        DistillationError: missing columns or splits, empty splits, labels that do not fit the task or the teacher,
            columns of another type.
    """
    _check_splits_differ(config)
    splits = Splits.load(config, rows, teacher_label_names, may_be_unlabelled)
    source = splits.named(config.train_split, "data.train_split")
    test, validation = splits.roles()
    layout = splits.find_layout([config.train_split, *([test] if test else [])], teacher_label_names)
    layout = replace(layout, teacher_texts=tuple(teacher_texts or ()), answers=tuple(answers))
    _check_teachers_columns(source, layout)

    whole = train = rows.normalise(source, layout, "training")
    transfers = [part for name in config.unlabelled for part in _load_transfer_set(name, layout, config, rows)]
    read = {"training": len(source), **{name: count for name, _, count in transfers}}
    transfer = [(name, part) for name, part, _ in transfers]
    if test is None:
        train, tested = _hold_out(whole, config, rows, splits.are_unlabelled)
    else:
        tested = splits.labelled(test, replace(layout, answers=()))
    if splits.are_unlabelled:
        logger.warning("no row has a label: the student is measured by how well it follows its teacher")
        validation = None  # nothing is scored in training
    checked = None if validation is None else splits.labelled(validation, layout)
    require_rows(train, "training")
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
        train=without(joined, SOURCE_ROW),
        test=without(tested, SOURCE_ROW),
        validation=None if checked is None else without(checked, SOURCE_ROW),
        label_names=list(layout.label_names),
        rows=rows,
        id_names=(layout.label_names and own_names) or layout.given_names or layout.label_names,
        answers=given,
        are_unlabelled=splits.are_unlabelled,
        left_out=(
            *_left_out({name: (read[name], len(part)) for name, part in [("training", whole), *transfer]}, "text"),
            *_left_out({} if test is None else {test: (len(splits.loaded[test]), len(tested))}, "text or label"),
        ),
    )


def evaluation_split(
    config: DataConfig, rows: RowFormat, label_names: Sequence[str], may_be_unlabelled: bool = False
) -> Dataset:
    """Load the labelled rows of one split, normalised: `test_split`, else test, else validation, else `train_split`.

    Args:
        config: where the rows are.
        rows: the row format of the model's task.
        label_names: the model's labels in logit order; empty for a task without names.
        may_be_unlabelled: whether all rows will do, if none has a label.

    Raises:
        DistillationError: no such split or column, or no labelled rows, or labels that the model does not have.
    """
    splits = Splits.load(config, rows, label_names, may_be_unlabelled)
    name = splits.find("test_split", config.train_split, config.validation_split) or config.train_split
    splits.named(name, "data.test_split")
    return splits.labelled(name, splits.find_layout([name], label_names))


def fingerprint(rows: Dataset | None) -> str:
    """Return a hash of the content of rows: the same for the same rows, wherever they came from."""
    batches = () if rows is None else rows.with_format(None).iter(batch_size=1000)
    return digest(json.dumps(batch, ensure_ascii=False).encode() for batch in batches).hex()


def _left_out(counts: Mapping[str, tuple[int, int]], lack: str) -> list[str]:
    """Say of how many rows, read and used, some are left out for lack of something."""
    return [
        f"{read - used:,} of {read:,} {name} rows, for they have no {lack}"
        for name, (read, used) in counts.items()
        if used < read
    ]


def _load_transfer_set(
    source: str, layout: Layout, config: DataConfig, rows: RowFormat
) -> list[tuple[str, Dataset, int]]:
    """Return the normalised rows of every split of a transfer set, by name, with how many were read.

    They have no labels, whatever their source has.
    """
    parts, splits = [], load_source(source, form=config.file_form)
    for split, dataset in splits.items():
        name = f"unlabelled ({source}{f', split {split}' if len(splits) > 1 else ''})"
        texts = without(as_meant(without(dataset, layout.label), rows, config), layout.label)
        check_types(texts, config)
        own = rows.unlabelled_layout(texts, layout)
        if own is None:
            raise DistillationError(
                f"the unlabelled source {source} must have the text columns {[*layout.texts, *layout.choices]}, but it "
                f"has {shown(texts.column_names)}. Rename its columns."
            )
        _check_teachers_columns(texts, layout, f"(for the unlabelled source {source}) ")
        parts.append((name, rows.normalise(texts, own, name), len(texts)))
    return parts


def _hold_out(
    train: Dataset, config: DataConfig, rows: RowFormat, are_unlabelled: bool = False
) -> tuple[Dataset, Dataset]:
    """Return what stays of normalised training rows, and the labelled rows that are tested on; of none, any rows.

    Raises:
        DistillationError: there are too few labelled rows, or too few of a class.
    """
    labelled = np.arange(len(train)) if are_unlabelled else np.flatnonzero(rows.is_labelled(train))
    require_rows(labelled, "labelled")
    strata = None if are_unlabelled else rows.strata(train)
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
    what = "" if are_unlabelled else "labelled "
    logger.info("there is no %stest split: %d %srows are held out", what, len(held_out), what)
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
