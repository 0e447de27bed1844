"""Which splits of a source are trained on, tested on, and evaluated on during training."""

import logging
from collections.abc import Collection

from datasets import Dataset, DatasetDict

from distilnlp.data.config import DataConfig
from distilnlp.data.rows import RowFormat
from distilnlp.errors import DistillationError, did_you_mean, shown

logger = logging.getLogger(__name__)

KEYS = ("train_split", "validation_split", "test_split")
# What splits are called where the keys do not say it.
USUAL = {"test": ("test",), "validation": ("validation", "valid", "val", "dev", "eval")}


def wanted_splits(config: DataConfig) -> list[str]:
    """Return the names of the splits that may be read."""
    named = [name for key in KEYS if (name := getattr(config, key)) is not None]
    return list(dict.fromkeys([*named, *USUAL["test"], *USUAL["validation"]]))


def check_splits_differ(config: DataConfig) -> None:
    """Raise a `DistillationError` if two keys name one split."""
    named = {key: getattr(config, key) for key in KEYS}
    for key, name in named.items():
        others = [other for other, value in named.items() if value == name and other != key]
        if name is not None and others:
            raise DistillationError(
                f"data.{key} and data.{others[0]} are both {name!r}: what is trained or chosen on a split cannot be "
                "tested on it. Name another split, or leave one out."
            )


def check_split_names(config: DataConfig) -> None:
    """Raise a `DistillationError` if `data.source` names a split that nothing reads."""
    known = list(dict.fromkeys(["train", *wanted_splits(config)]))
    for name in config.source if isinstance(config.source, dict) else ():
        if name not in known:
            raise DistillationError(
                f"data.source names the split {name!r}, but only {known} are read.{did_you_mean(name, known)} Rename "
                "it, or name it in data.train_split, data.test_split or data.validation_split."
            )


def say_roles(splits: DatasetDict, config: DataConfig, test: str | None) -> None:
    """Warn of splits that nothing reads, and of a validation split that must do for the test split."""
    others = [name for name in splits if name not in wanted_splits(config)]
    if others:
        logger.warning("nothing reads the splits %s; data.test_split or data.validation_split can", shown(others))
    if config.test_split is None and test in USUAL["validation"]:
        logger.warning(
            "there is no labelled test split, so the split %s is what the run is measured on at its end, and not for "
            "evaluation during training",
            test,
        )


def split_named(splits: DatasetDict, name: str, key: str) -> Dataset:
    """Return a split; a `DistillationError` that names the recipe's `key` if there is none of the name."""
    if name not in splits:
        known = list(splits)
        raise DistillationError(
            f"the data has no split {name!r}: it has {shown(known)}.{did_you_mean(name, known)} Set {key}."
        )
    return splits[name]


def find_test_split(splits: DatasetDict, config: DataConfig, rows: RowFormat, label: str) -> str | None:
    """Return the name of the split that is tested on: `test_split`, else the test, else the validation split."""
    if config.test_split is not None:
        split_named(splits, config.test_split, "data.test_split")
        return config.test_split
    taken = (config.train_split, config.validation_split)
    kinds = (_usual_split(kind, splits, taken, config, rows, label) for kind in ("test", "validation"))
    return next(filter(None, kinds), None)


def find_validation_split(
    splits: DatasetDict, config: DataConfig, rows: RowFormat, label: str, test: str | None
) -> str | None:
    """Return the name of the split for evaluation during training: `validation_split`, else the usual one."""
    if config.validation_split is not None:
        split_named(splits, config.validation_split, "data.validation_split")
        return config.validation_split
    return _usual_split("validation", splits, (config.train_split, test), config, rows, label)


def has_labels(dataset: Dataset, rows: RowFormat, label: str) -> bool:
    """Whether some row has a label, or needs none."""
    return not rows.needs_labels or (label in dataset.column_names and rows.has_labels(dataset, label))


def _usual_split(
    kind: str, splits: DatasetDict, taken: Collection[str | None], config: DataConfig, rows: RowFormat, label: str
) -> str | None:
    """Return the split that has the usual name of its kind, if there is one with labels."""
    names = [name for name in USUAL[kind] if name in splits and name not in taken]
    if len(names) > 1:
        raise DistillationError(
            f"the splits {names} may each be the {kind} split. Name one in data.{kind}_split, and leave the other out."
        )
    # Files that the user names as a split are meant, whatever they hold: what is wrong with them is an error.
    if not names or isinstance(config.source, dict) or has_labels(splits[names[0]], rows, label):
        return names[0] if names else None
    logger.warning("the split %s has no labels, or hidden ones, in %r, so it is passed over", names[0], label)
    return None
