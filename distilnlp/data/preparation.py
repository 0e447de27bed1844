"""Prepare a run's data: normalised splits, the transfer set joined in, and a fingerprint of the content."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from datasets import Dataset, concatenate_datasets

from distilnlp.data.config import DataConfig
from distilnlp.data.row_format import Layout, RowFormat
from distilnlp.data.source_checks import check_splits_differ, check_teachers_columns, check_types, require_rows
from distilnlp.data.source_columns import LabelColumn
from distilnlp.data.sources import load_source
from distilnlp.data.splits import Splits, hold_out, labelled_rows, warn_of_overlap
from distilnlp.data.teacher_columns import SCORES
from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.files import digest
from distilnlp.signals import ANSWER, SOURCE_ROW


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
    check_splits_differ(config)
    splits = Splits.load(config, rows)
    source = splits.named(config.train_split, "data.train_split")
    test, validation = splits.roles()
    layout = _find_layout(splits, [config.train_split, *([test] if test else [])], teacher_label_names)
    layout = replace(layout, teacher_texts=tuple(teacher_texts or ()), answers=tuple(answers))
    check_teachers_columns(source, layout.teacher_texts, layout.answers, layout.label)

    whole = train = rows.normalise(source, layout, "training")
    transfer = [part for name in config.unlabelled for part in _load_transfer_set(name, layout, config, rows)]
    if test is None:
        train, tested = hold_out(whole, config, rows)
    else:
        tested = splits.labelled(test, replace(layout, answers=()))
    checked = None if validation is None else splits.labelled(validation, layout)
    require_rows(train, "training")
    joined = _join([("training", train), *transfer])
    warn_of_overlap(joined, tested, rows)

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
    splits = Splits.load(config, rows)
    name = splits.test() or config.train_split
    splits.named(name, "data.test_split")
    return splits.labelled(name, _find_layout(splits, [name], label_names))


def fingerprint(rows: Dataset | None) -> str:
    """Return a hash of the content of rows: the same for the same rows, wherever they came from."""
    batches = () if rows is None else rows.with_format(None).iter(batch_size=1000)
    return digest(json.dumps(batch, ensure_ascii=False).encode() for batch in batches).hex()


def _find_layout(splits: Splits, names: Sequence[str], teacher_names: Sequence[str] | None) -> Layout:
    """Return the columns of the first of some splits, and the label names of the first that has labels."""
    config, rows, label = splits.config, splits.rows, splits.label
    parts = [splits.loaded[name] for name in names]
    layout = rows.find_layout(parts[0], config, label)
    if not rows.needs_labels:
        return layout
    labelled = [part for part in parts if label in part.column_names]
    if not labelled:
        columns = parts[0].column_names
        raise DistillationError(
            f"no split has the label column {label!r}: the columns are {shown(columns)}.{did_you_mean(label, columns)} "
            "Set data.label_column, or add labelled rows: a run needs some to evaluate on."
        )
    best = next(filter(splits.has_labels, labelled), labelled[0])
    found = rows.find_label_names(LabelColumn(best, label), config.label_names, teacher_names)
    ids_mean = None if config.label_names is None else tuple(config.label_names)
    return replace(layout, given_names=ids_mean, label_names=tuple(found))


def _load_transfer_set(source: str, layout: Layout, config: DataConfig, rows: RowFormat) -> list[tuple[str, Dataset]]:
    """Return the normalised rows of every split of a transfer set, by name, without the labels that it may have."""
    parts, splits = [], load_source(source)
    for split, dataset in splits.items():
        name = f"unlabelled ({source}{f', split {split}' if len(splits) > 1 else ''})"
        texts = _without(rows.unfold(dataset.with_format(None)), layout.label)
        check_types(texts, config)
        own = rows.unlabelled_layout(texts, layout)
        if own is None:
            raise DistillationError(
                f"the unlabelled source {source} must have the text columns {[*layout.texts, *layout.choices]}, but it "
                f"has {shown(texts.column_names)}. Rename its columns."
            )
        where = f"(for the unlabelled source {source}) "
        check_teachers_columns(texts, layout.teacher_texts, layout.answers, layout.label, where)
        parts.append((name, rows.normalise(texts, own, name)))
    return parts


def _join(parts: Sequence[tuple[str, Dataset]]) -> Dataset:
    """Return the training rows and the transfer set as one."""
    naming = {part.features.get(ANSWER) == SCORES: name for name, part in parts}
    if len(naming) > 1:
        raise DistillationError(
            "the teacher's answers must be alike in all training data, but the column of the "
            f"{naming[True]} data names labels with their scores, and that of the {naming[False]} data does not. "
            "Convert teacher.column."
        )
    return concatenate_datasets([part for _, part in parts])


def _without(rows: Dataset, column: str) -> Dataset:
    return rows.remove_columns(column) if column in rows.column_names else rows
