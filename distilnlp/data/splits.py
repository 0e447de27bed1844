"""Which rows are trained on, tested on and evaluated on; and which of several teachers may answer a row."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray

from distilnlp.data.config import USUAL_SPLITS, DataConfig
from distilnlp.data.row_format import Layout, RowFormat
from distilnlp.data.source_checks import check_section, check_types, require_rows
from distilnlp.data.sources import load_source
from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.signals import NO_FOLD

logger = logging.getLogger(__name__)


# ---- Splits ----


@dataclass(frozen=True)
class Splits:
    """The splits of `data.source`, one row an example, their columns checked; and which of them is for what.

    Attributes:
        loaded: by name.
        config: names them.
        rows: the row format of the task.
        label: the label column, whether there or not.
    """

    loaded: DatasetDict
    config: DataConfig
    rows: RowFormat
    label: str

    @classmethod
    def load(cls, config: DataConfig, rows: RowFormat) -> "Splits":
        """Load the source, as far as it is read.

        Raises:
            DistillationError: it cannot be read, or names or types of its splits and columns do not fit.
        """
        check_section(config, rows.task, rows.own_keys)
        source = load_source(config.source, config.config, config.wanted_splits)
        loaded = DatasetDict({name: rows.unfold(split.with_format(None)) for name, split in source.items()})
        names = [config.label_column] if config.label_column else rows.usual_labels
        present = [name for name in names if any(name in split.column_names for split in loaded.values())]
        label = [*present, *names][0]
        for split in loaded.values():
            check_types(split, config, *((label, rows.label_checks) if rows.needs_labels else ()))
        return cls(loaded, config, rows, label)

    def named(self, name: str, key: str) -> Dataset:
        """Return a split; a `DistillationError` that names the recipe's `key` if there is none of the name."""
        if name not in self.loaded:
            known = list(self.loaded)
            raise DistillationError(
                f"the data has no split {name!r}: it has {shown(known)}.{did_you_mean(name, known)} Set {key}."
            )
        return self.loaded[name]

    def test(self) -> str | None:
        """Return the name of the split that is tested on: `test_split`, else the test, else the validation split."""
        taken = (self.config.train_split, self.config.validation_split)
        return self._find("test_split", ("test", "validation"), taken)

    def roles(self) -> tuple[str | None, str | None]:
        """Return which splits are for the test and for evaluation during training: those that are named, or the usual.

        It warns of splits that nothing reads, and of a validation split that must do for the test split.
        """
        test = self.test()
        validation = self._find("validation_split", ("validation",), (self.config.train_split, test))
        others = [name for name in self.loaded if name not in self.config.wanted_splits]
        if others:
            logger.warning("nothing reads the splits %s; data.test_split or data.validation_split can", shown(others))
        if self.config.test_split is None and test in USUAL_SPLITS["validation"]:
            logger.warning(
                "there is no labelled test split, so the split %s is what the run is measured on at its end, and not "
                "for evaluation during training",
                test,
            )
        return test, validation

    def _find(self, key: str, kinds: Sequence[str], taken: Collection[str | None]) -> str | None:
        """Return the split that a key names, or else that of the first kind of which one with labels is there."""
        if (given := getattr(self.config, key)) is not None:
            self.named(given, f"data.{key}")
            return given
        for kind in kinds:
            names = [name for name in USUAL_SPLITS[kind] if name in self.loaded and name not in taken]
            if len(names) > 1:
                raise DistillationError(
                    f"the splits {names} may each be the {kind} split. Name one in data.{kind}_split, and leave the "
                    "other out."
                )
            # Files that the user names as a split are meant, whatever they hold: what is wrong with them is an error.
            if names and (isinstance(self.config.source, dict) or self.has_labels(self.loaded[names[0]])):
                return names[0]
            if names:
                logger.warning(
                    "the split %s has no labels, or hidden ones, in %r, so it is passed over", names[0], self.label
                )
        return None

    def has_labels(self, split: Dataset) -> bool:
        """Whether some row has a label, or needs none."""
        is_there = self.label in split.column_names
        return not self.rows.needs_labels or (is_there and self.rows.has_labels(split, self.label))

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
        require_rows(labelled, f"labelled {name}")
        return labelled


def labelled_rows(dataset: Dataset, rows: RowFormat) -> Dataset:
    """Return the rows, normalised or tokenised, that have a label; all of them where the task needs none."""
    return dataset.select(np.flatnonzero(rows.is_labelled(dataset))) if rows.needs_labels else dataset


def hold_out(train: Dataset, config: DataConfig, rows: RowFormat) -> tuple[Dataset, Dataset]:
    """Return what stays of normalised training rows, and the labelled rows that are tested on.

    Raises:
        DistillationError: there are too few labelled rows, or too few of a class.
    """
    labelled = np.flatnonzero(rows.is_labelled(train))
    require_rows(labelled, "labelled")
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


def warn_of_overlap(train: Dataset, test: Dataset, rows: RowFormat) -> None:
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


# ---- Folds ----


def assign_folds(rows: Dataset, row_format: RowFormat, num_folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row, int64 `[rows]`: teacher k learns the labels of all folds but k, and answers fold k.

    Cross-fitting keeps a teacher's overfitting out of what the student learns: Dao, Kamath, Syrgkanis, Mackey,
    "Knowledge Distillation as Semiparametric Inference" (arXiv 2104.09732). Rows without a label have fold -1: every
    teacher may answer them. Rows of equal content share one fold, with or without a label, so that no teacher answers
    a text whose label it learned from a duplicate. Every fold has its share of each class, where there are classes.

    Args:
        rows: normalised rows; see the row format.
        row_format: of the task.
        num_folds: 2 or more.
        seed: equal seeds give equal folds.

    Raises:
        DistillationError: fewer than 2 folds, or more than there are different labelled rows or rows of a class; or
            the rows of a class are so often the same that some teacher would not see the class.
    """
    keys = np.fromiter(row_format.keys(rows), dtype=np.int64)
    labelled = np.flatnonzero(row_format.is_labelled(rows))
    strata = row_format.strata(rows)
    classes = None if strata is None else strata[labelled]
    groups = _groups(keys[labelled], seed)  # of these alone: a transfer set changes no teacher
    _check_num_folds(num_folds, groups, classes)
    folds = np.empty(len(labelled), dtype=np.int64)
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold  # takes a second to import

    # Without their `shuffle`, for the groups are in random order already: until scikit-learn 1.8 the shuffling of the
    # stratified one loses the classes (scikit-learn issue 32478), and the other has none until 1.6.
    splitter = GroupKFold(num_folds) if classes is None else StratifiedGroupKFold(num_folds)
    for fold, (_, members) in enumerate(splitter.split(groups, classes, groups)):
        folds[members] = fold
    if classes is not None:
        _check_classes(folds, classes, num_folds)
    # Every row has the fold of its key, if a labelled row has the key.
    distinct, first = np.unique(keys[labelled], return_index=True)
    places = np.searchsorted(distinct, keys).clip(max=len(distinct) - 1)
    return np.where(distinct[places] == keys, folds[first[places]], NO_FOLD)


def _groups(keys: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return a number for each row, equal for equal keys, in an order that depends on the seed alone.

    The keys are hashes of texts, which differ from process to process: so only whether they are equal may matter.
    """
    _, first, groups = np.unique(keys, return_index=True, return_inverse=True)
    number = np.empty_like(first)
    number[np.argsort(first)] = np.random.default_rng(seed).permutation(len(first))  # in the order they come in
    return number[groups]


def _check_num_folds(num_folds: int, groups: NDArray, classes: NDArray | None) -> None:
    if num_folds < 2:
        raise DistillationError(
            f"cross-fitting needs 2 folds or more, but it is to have {num_folds}: a teacher must not answer the rows "
            "that it was trained on. Raise the number of folds."
        )
    different = len(np.unique(groups))
    if num_folds > different:
        raise DistillationError(
            f"every fold needs a labelled row of its own, but there are {len(groups)} labelled rows, {different} of "
            f"them different, for {num_folds} folds. Lower the number of folds, or add labelled rows."
        )
    if classes is None:
        return
    ids, counts = np.unique(classes, return_counts=True)
    if num_folds > counts.min():
        raise DistillationError(
            f"every fold needs a row of each class, but class {ids[counts.argmin()]}, the smallest of {len(ids)}, has "
            f"{counts.min()} labelled rows for {num_folds} folds. Lower the number of folds, or add rows of this class."
        )


def _check_classes(folds: NDArray, classes: NDArray, num_folds: int) -> None:
    """Refuse folds whose teacher would never see some class."""
    for fold in range(num_folds):
        lacking = np.setdiff1d(classes, classes[folds != fold])
        if len(lacking):
            raise DistillationError(
                f"every teacher must see each class, but all labelled rows of class {lacking[0]} are in fold {fold}, "
                "for rows of equal content stay together. Add other rows of this class, or leave the class out."
            )
