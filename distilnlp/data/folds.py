"""Which of several teachers may answer a row."""

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from distilnlp.data.row_format import RowFormat
from distilnlp.errors import DistillationError
from distilnlp.signals import NO_FOLD


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
    for fold, (others, members) in enumerate(splitter.split(groups, classes, groups)):
        folds[members] = fold
        if classes is not None and len(lacking := np.setdiff1d(classes, classes[others])):
            raise DistillationError(
                f"every teacher must see each class, but all labelled rows of class {lacking[0]} are in fold {fold}, "
                "for rows of equal content stay together. Add other rows of this class, or leave the class out."
            )
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
