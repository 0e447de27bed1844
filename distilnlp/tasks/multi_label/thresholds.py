"""From which probability on a label is given: for each label what held-out rows say, for few of them one for all."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

THRESHOLDS = "label_thresholds"  # in a config: a probability for each label, in their order
FEWEST = 20  # rows with a label, and without it, that its own threshold takes


def best_thresholds(logits: NDArray, labels: NDArray) -> NDArray[np.float64]:
    """Return the probabilities `[labels]` above which giving a label has the highest F1.

    A label that holds for fewer than 20 rows, or does not for fewer than 20, gets the threshold of the highest micro-F1
    of all labels together: one of its own would follow chance. Each lies half way, in logits, between two rows.

    Args:
        logits: `[rows, labels]`.
        labels: `[rows, labels]` of 0, 1 or NaN for what is unknown.
    """
    known = ~np.isnan(labels)
    shared = _best(logits[known], labels[known] == 1)
    found = np.full(logits.shape[1], shared)
    for label in range(logits.shape[1]):
        own = known[:, label]
        truth = labels[own, label] == 1
        if FEWEST <= truth.sum() <= len(truth) - FEWEST:
            found[label] = _best(logits[own, label], truth)
    return expit(found)


def _best(scores: NDArray, truth: NDArray) -> float:
    """Return the score between those above it and those below at which F1 = 2·hits / (given + true) is highest."""
    if not truth.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    falling, hits = scores[order].astype(np.float64), truth[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(falling) + 1) + truth.sum())
    following = np.append(falling[1:], falling[-1] - 2.0)
    place = np.where(falling > following, f1, -1.0).argmax()  # rows of equal score cannot be told apart
    return float((falling[place] + following[place]) / 2)
