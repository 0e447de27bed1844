"""Metrics of single-label classification as `evaluate` modules, by the formulas of scikit-learn."""

import warnings
from typing import TYPE_CHECKING

from datasets import Features, Value
from numpy.typing import ArrayLike

from distilnlp.metrics import ACCURACY, Figure, TaskMetric

if TYPE_CHECKING:
    from evaluate import CombinedEvaluations

CLASS_IDS = Features({"predictions": Value("int64"), "references": Value("int64")})


class Accuracy(TaskMetric):
    """Share of rows whose predicted class is the labelled one; result key `accuracy`."""

    figures = (ACCURACY,)
    inputs = CLASS_IDS

    def _compute(self, *, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
        from sklearn.metrics import accuracy_score  # scikit-learn takes a while to import

        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(TaskMetric):
    """Mean of the classes' F1, over the classes that occur in labels or predictions; result key `macro_f1`."""

    figures = (Figure("macro_f1", "macro-F1", "no label holds or is predicted"),)
    inputs = CLASS_IDS

    def _compute(self, *, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
        from sklearn.metrics import f1_score

        return {"macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0))}


class MatthewsCorrelation(TaskMetric):
    """Matthews correlation, from -1 to 1, 0 for a constant prediction or a single class; result key `mcc`."""

    figures = (Figure("mcc", "MCC", "all rows have one class", is_share=False),)
    inputs = CLASS_IDS

    def _compute(self, *, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
        from sklearn.metrics import matthews_corrcoef

        with warnings.catch_warnings():
            # scikit-learn warns about the shape of a matrix that the user never sees when all rows have one class.
            warnings.filterwarnings("ignore", message="A single label was found", category=UserWarning)
            return {"mcc": float(matthews_corrcoef(references, predictions))}


def classification_metrics() -> "CombinedEvaluations":
    """Return accuracy, macro-F1 and Matthews correlation as one `evaluate` module.

    `classification_metrics().compute(predictions=ids, references=ids)` gives `accuracy`, `macro_f1` and `mcc`.
    """
    from evaluate import combine

    return combine([Accuracy(), MacroF1(), MatthewsCorrelation()])
