"""The metrics, written out in loops from their definitions."""

import math
import re
import string

import numpy as np
from sklearn.metrics import average_precision_score


def naive_metrics(predictions, labels):
    """Accuracy, macro-F1 and Matthews correlation of single-label classification."""
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


def naive_multi_label_metrics(logits, labels):
    """F1 from counted decisions, label by label; average precision by scikit-learn. NaN labels are skipped."""
    counts, precisions = [], []
    for column in range(logits.shape[1]):
        known = [row for row in range(len(labels)) if not math.isnan(labels[row, column])]
        chosen = [bool(logits[row, column] > 0) for row in known]
        truth = [bool(labels[row, column] == 1) for row in known]
        hits = sum(c and t for c, t in zip(chosen, truth, strict=True))
        counts.append((2 * hits, sum(chosen) + sum(truth)))
        if any(truth):
            precisions.append(average_precision_score(truth, logits[known, column]))
    f1 = [double / size for double, size in counts if size]
    doubles, sizes = (sum(part) for part in zip(*counts, strict=True))
    return {
        "micro_f1": doubles / sizes if sizes else math.nan,
        "macro_f1": sum(f1) / len(f1) if f1 else math.nan,
        "map": sum(precisions) / len(precisions) if precisions else math.nan,
    }


def naive_best_span(start, end, max_length):
    """The best start + end logit of every allowed span, tried one by one; the first of equal ones."""
    best = (-math.inf, 0, 0)
    for first in range(len(start)):
        for last in range(first, min(first + max_length, len(start))):
            if start[first] + end[last] > best[0]:
                best = (start[first] + end[last], first, last)
    return best


def naive_squad(answer, references):
    """SQuAD 1.1: each measure is that of the reference that suits it best."""
    found, expected = naive_words(answer), [naive_words(reference) for reference in references]
    scores = []
    for words in expected:
        left, shared = list(words), 0
        for word in found:
            if word in left:
                left.remove(word)
                shared += 1
        precision, recall = (shared / len(side) if side else 0.0 for side in (found, words))
        scores.append(2 * precision * recall / (precision + recall) if shared else 0.0)
    return {"f1": max(scores), "exact_match": float(found in expected)}


def naive_words(text):
    """Lower case, no punctuation, no articles, single spaces."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return [word for word in re.sub(r"\b(a|an|the)\b", " ", kept).split(" ") if word.strip()]


def naive_squad_2(answers, references):
    """SQuAD 2.0's measures of texts, in percent: of all questions, and of those with and without an answer."""
    exact, f1, lacks = [], [], []
    for answer, given in zip(answers, references, strict=True):
        known = [reference for reference in given if naive_words(reference)] or [""]
        lacks.append(list(given) == [""])
        exact.append(max(float(naive_words(answer) == naive_words(reference)) for reference in known))
        f1.append(max(naive_f1_2(naive_words(answer), naive_words(reference)) for reference in known))

    def percent(values, kept):
        chosen = [value for value, keep in zip(values, kept, strict=True) if keep]
        return 100 * sum(chosen) / len(chosen)

    everything, has = [True] * len(lacks), [not lack for lack in lacks]
    found = {"exact": percent(exact, everything), "f1": percent(f1, everything)}
    if any(has):
        found |= {"HasAns_exact": percent(exact, has), "HasAns_f1": percent(f1, has)}
    return found | {"NoAns_exact": percent(exact, lacks), "NoAns_f1": percent(f1, lacks)}


def naive_f1_2(found, expected):
    if not found or not expected:
        return float(found == expected)
    shared = sum(min(found.count(word), expected.count(word)) for word in set(found))
    if not shared:
        return 0.0
    precision, recall = shared / len(found), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def naive_best_f1(answers, margins, references):
    """Try every threshold: no answer above it. Return the best mean F1, and the lowest threshold that gives it."""
    best = None
    for threshold in sorted({0.0, *margins}):
        given = ["" if margin > threshold else answer for answer, margin in zip(answers, margins, strict=True)]
        f1 = naive_squad_2(given, references)["f1"] / 100
        best = (f1, threshold) if best is None or f1 > best[0] + 1e-12 else best
    return best
