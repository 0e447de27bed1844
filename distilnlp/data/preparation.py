"""Prepare a run's data: splits with integer labels, the transfer set joined in, and a fingerprint of the content."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets
from sklearn.model_selection import train_test_split
from transformers import PreTrainedTokenizerBase

from distilnlp.data.columns import (
    agree_on_labels,
    check_label_column,
    encode_labels,
    find_label_names,
    find_text_columns,
    hidden_labels,
    number_labels,
    require_column,
)
from distilnlp.data.config import DataConfig
from distilnlp.data.sources import load_source
from distilnlp.errors import DistillationError, did_you_mean
from distilnlp.labels import NO_LABEL

logger = logging.getLogger(__name__)

TEXT, TEXT_PAIR, LABEL = "text", "text_pair", "label"


@dataclass(frozen=True)
class PreparedData:
    """Text and label ids in the columns `text`, `text_pair` (for pairs) and `label` (-100 = no label).

    Attributes:
        train: labelled and unlabelled rows.
        test: labelled rows that no training sees.
        validation: labelled rows for evaluation during training, if there are any.
        label_names: in the order of the models' logits.
    """

    train: Dataset
    test: Dataset
    validation: Dataset | None
    label_names: list[str]

    @property
    def labelled(self) -> Dataset:
        """The training rows that have a label."""
        return labelled_rows(self.train)


def prepare_data(config: DataConfig, teacher_label_names: Sequence[str] | None) -> PreparedData:
    """Load, check and split the data of a recipe.

    Args:
        config: the recipe's `data` section.
        teacher_label_names: the fine-tuned teacher's labels in logit order; None = it is yet to be trained.

    Raises:
        DistillationError: missing columns or splits, empty splits, labels that do not fit the teacher, columns that
            are not text.
    """
    _check_splits_differ(config)
    splits = _load_splits(config)
    train = _split(splits, config.train_split, "data.train_split")
    test = _find_test_split(splits, config)
    validation = _split(splits, config.validation_split, "data.validation_split") if config.validation_split else None
    columns = find_text_columns(train, config.text_columns, config.label_column)
    names = _label_names(train if config.label_column in train.column_names else test, config, teacher_label_names)

    ready = _normalise(train, columns, config, names, "training")
    unlabelled = [_load_unlabelled(source, columns) for source in config.unlabelled]
    if test is None:
        ready, held_out = _hold_out(ready, config)
    else:
        held_out = labelled_rows(_normalise(test, columns, config, names, "test"))
    checked = (
        None if validation is None else labelled_rows(_normalise(validation, columns, config, names, "validation"))
    )
    _require_rows(ready, "training")
    _require_rows(held_out, "labelled test")
    if checked is not None:
        _require_rows(checked, "labelled validation")
    _warn_of_overlap(ready, held_out)
    joined = concatenate_datasets([ready, *unlabelled])
    return PreparedData(joined, held_out, checked, names)


def evaluation_split(config: DataConfig, label_names: Sequence[str]) -> Dataset:
    """Load the labelled rows of one split: `test_split`, else test, else validation, else `train_split`.

    Args:
        config: where the rows are.
        label_names: the model's labels in logit order.

    Raises:
        DistillationError: no such split or column, or no labelled rows, or labels that the model does not have.
    """
    splits = _load_splits(config)
    rows = _find_test_split(splits, config) or _split(splits, config.train_split, "data.test_split")
    columns = find_text_columns(rows, config.text_columns, config.label_column)
    names = _label_names(rows, config, label_names)
    labelled = labelled_rows(_normalise(rows, columns, config, names, "evaluation"))
    _require_rows(labelled, "labelled")
    return labelled


def labelled_rows(dataset: Dataset) -> Dataset:
    """Return the rows that have a label."""
    return dataset.select(np.flatnonzero(np.asarray(dataset[LABEL]) != NO_LABEL))


def fingerprint(rows: Dataset | None) -> str:
    """Return a hash of the content of rows: the same for the same rows, wherever they came from."""
    digest = hashlib.blake2b(digest_size=16)
    for batch in rows.iter(batch_size=1000) if rows is not None else ():
        digest.update(json.dumps(batch, ensure_ascii=False).encode())
    return digest.hexdigest()


def tokenise(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, desc: str) -> Dataset:
    """Return rows of token ids, the label kept, with their `length` for batches of like length; unpadded.

    Args:
        dataset: rows with `text`, perhaps `text_pair`, and `label`.
        tokenizer: the tokenizer of teacher and student.
        max_length: longer texts are cut; of a pair the longer text first.
        desc: caption of the progress bar.
    """

    def encode(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        pairs = rows.get(TEXT_PAIR)
        encoded = tokenizer(rows[TEXT], pairs, truncation=True, max_length=max_length)
        return {**encoded, "length": [len(ids) for ids in encoded["input_ids"]]}

    texts = [name for name in (TEXT, TEXT_PAIR) if name in dataset.column_names]
    return dataset.map(encode, batched=True, remove_columns=texts, desc=desc)


def _load_splits(config: DataConfig) -> DatasetDict:
    splits = load_source(config.source, config.config)
    for split in splits.values():
        check_label_column(split, config.label_column)
    return splits


def _split(splits: DatasetDict, name: str, key: str) -> Dataset:
    if name not in splits:
        known = list(splits)
        raise DistillationError(
            f"the data has no split {name!r}: it has {known}.{did_you_mean(name, known)} Set {key}."
        )
    return splits[name]


def _check_splits_differ(config: DataConfig) -> None:
    named = {key: getattr(config, key) for key in ("train_split", "validation_split", "test_split")}
    for key, name in named.items():
        others = [other for other, value in named.items() if value == name and other != key]
        if name is not None and others:
            raise DistillationError(
                f"data.{key} and data.{others[0]} are both {name!r}: what is trained or chosen on a split cannot be "
                "tested on it. Name another split, or leave one out."
            )


def _find_test_split(splits: DatasetDict, config: DataConfig) -> Dataset | None:
    if config.test_split is not None:
        return _split(splits, config.test_split, "data.test_split")
    column = config.label_column
    for name in ("test", "validation"):
        is_taken = name in (config.train_split, config.validation_split)
        if name in splits and not is_taken and _has_labels(splits[name], column):
            return splits[name]
    return None


def _has_labels(dataset: Dataset, column: str) -> bool:
    return column in dataset.column_names and bool(set(dataset.unique(column)) - hidden_labels(dataset, column))


def _label_names(dataset: Dataset | None, config: DataConfig, teacher_names: Sequence[str] | None) -> list[str]:
    if dataset is None:
        raise DistillationError(
            f"no split has the label column {config.label_column!r}. Set data.label_column, or add labelled rows: a "
            "run needs some to evaluate on."
        )
    require_column(dataset, config.label_column, "data.label_column")
    data_names = find_label_names(dataset, config.label_column, config.label_names)
    is_closed = config.label_names is not None or isinstance(dataset.features[config.label_column], ClassLabel)
    if data_names is None and teacher_names is None:
        data_names = number_labels(dataset, config.label_column)
    names = agree_on_labels(data_names, teacher_names, config.label_names, is_closed)
    if len(names) < 2:
        raise DistillationError(
            f"classification needs two labels or more, but the data has {names}. Check {config.label_column!r}."
        )
    return names


def _normalise(dataset: Dataset, columns: Sequence[str], config: DataConfig, names: list[str], split: str) -> Dataset:
    columns = find_text_columns(dataset, columns, config.label_column)
    has_labels = config.label_column in dataset.column_names
    data_names = find_label_names(dataset, config.label_column, config.label_names) if has_labels else None
    labels = encode_labels(dataset, config.label_column, data_names, names)
    return _rows(dataset, columns, labels, split)


def _load_unlabelled(source: str, columns: Sequence[str]) -> Dataset:
    dataset = concatenate_datasets(list(load_source(source).values()))
    # A plain text file names its only column "text", whatever the labelled data calls it.
    own = columns if set(columns) <= set(dataset.column_names) else find_text_columns(dataset, None, LABEL)
    if len(own) != len(columns):
        raise DistillationError(
            f"the unlabelled source {source} must have the text columns {list(columns)}, but it has "
            f"{dataset.column_names}. Rename its columns."
        )
    return _rows(dataset, own, [NO_LABEL] * len(dataset), f"unlabelled ({source})")


def _rows(dataset: Dataset, columns: Sequence[str], labels: list[int], split: str) -> Dataset:
    texts = {target: list(dataset[name]) for target, name in zip((TEXT, TEXT_PAIR), columns, strict=False)}
    keep = [
        index
        for index, row in enumerate(zip(*texts.values(), strict=True))
        if all(part and part.strip() for part in row)
    ]
    if len(keep) < len(labels):
        logger.warning("%d empty texts of the %s data were left out", len(labels) - len(keep), split)
    content = {name: [values[index] for index in keep] for name, values in texts.items()}
    features = Features({**dict.fromkeys(content, Value("string")), LABEL: Value("int64")})
    return Dataset.from_dict({**content, LABEL: [labels[index] for index in keep]}, features=features)


def _hold_out(train: Dataset, config: DataConfig) -> tuple[Dataset, Dataset]:
    labels = np.asarray(train[LABEL])
    labelled = np.flatnonzero(labels != NO_LABEL)
    _require_rows(labelled, "labelled")
    try:
        _, held_out = train_test_split(
            labelled, test_size=config.test_size, random_state=config.seed, stratify=labels[labelled]
        )
    except ValueError as error:
        raise DistillationError(
            f"cannot hold out {config.test_size:.0%} of {len(labelled)} labelled rows with every class in both parts: "
            f"{error} Add labelled rows, or give a test split."
        ) from error
    logger.info("there is no test split: %d labelled rows are held out", len(held_out))
    kept = np.setdiff1d(np.arange(len(train)), held_out)
    return train.select(kept), train.select(np.sort(held_out))


def _warn_of_overlap(train: Dataset, test: Dataset) -> None:
    seen = set(train[TEXT])
    common = sum(text in seen for text in test[TEXT])
    if common:
        logger.warning("%d of %d test texts are in the training data too: the figures flatter", common, len(test))


def _require_rows(rows: Sequence[int] | Dataset, what: str) -> None:
    if len(rows) == 0:
        raise DistillationError(f"there are no {what} rows: the split is empty. Check the source and its labels.")
