"""Whether a model's labels stand in another order than the data's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from distilnlp.errors import shortened
from distilnlp.metrics import Scoring

FAR_BETTER = 0.3  # in accuracy
WELL = 0.5
FEWEST_ITEMS = 5  # a label


def order_that_fits(predictions: Any, labels: Any, names: Sequence[str], task: Scoring) -> str | None:
    """Say which order of the labels fits a model's answers far better than the one it has; None if there is none.

    Every permutation is compared at once, as an assignment of answers to labels. With few items a label some
    permutation fits whatever was answered, so then nothing is said. `names` are the model's, in logit order.
    """
    classes, count = task.classes(predictions, labels), len(names)
    if classes is None or len(classes[1]) < FEWEST_ITEMS * count:
        return None
    answers, known = classes
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (known, answers), 1)
    _, order = linear_sum_assignment(-confusion)
    now, then = np.trace(confusion) / len(known), confusion[np.arange(count), order].sum() / len(known)
    if then < WELL or then - now < FAR_BETTER:
        return None
    return (
        f"its answers are right in {now:.0%} of the items, and would be in {then:.0%} if its labels stood in the order "
        f"{_listed(order)}. Where the data holds ids, set data.label_names: [{_listed([names[i] for i in order])}]; "
        "where it holds names, the order in the model's id2label is wrong."
    )


def _listed(values: Sequence[Any]) -> str:
    return shortened(", ".join(map(str, values)), 300)
