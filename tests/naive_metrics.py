"""The metrics of single-label classification, written out in loops."""

import math

import numpy as np


def naive_metrics(predictions, labels):
    """The definitions, written with loops."""
    pairs = list(zip(predictions, labels, strict=True))
    classes = sorted({*predictions, *labels})
    f1 = []
    for c in classes:
        hit = sum(p == c and t == c for p, t in pairs)
        f1.append(2 * hit / (sum(p == c for p, _ in pairs) + sum(t == c for _, t in pairs)))
    return {
        "accuracy": sum(p == t for p, t in pairs) / len(pairs),
        "macro_f1": sum(f1) / len(f1),
        "mcc": naive_mcc(np.array(predictions), np.array(labels), classes),
    }


def naive_mcc(predictions, labels, classes):
    """Correlation of the one-hot encodings."""
    x = np.array([[p == c for c in classes] for p in predictions], dtype=float)
    y = np.array([[t == c for c in classes] for t in labels], dtype=float)
    x, y = x - x.mean(0), y - y.mean(0)
    scale = math.sqrt((x * x).sum() * (y * y).sum())
    return (x * y).sum() / scale if scale > 1e-12 else 0.0


# Metrics
