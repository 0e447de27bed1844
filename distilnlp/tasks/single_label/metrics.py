"""Metrics of single-label classification as `evaluate` modules defined here: nothing is fetched or written."""

import warnings
from typing import Any

import evaluate
from datasets import Features, Value
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef


class _LocalMetric(evaluate.Metric):
    """An `evaluate` metric over class ids that stays in memory.

    Without `keep_in_memory`, evaluate writes predictions to one file of the user's cache that all processes share by
    name, so two runs at once wait for each other's lock.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"keep_in_memory": True, **options})

    def _build_data_dir(self) -> str:
        # evaluate makes a cache folder even for data in memory, which fails where the home folder is read-only.
        return str(self._data_dir_root) if self.keep_in_memory else super()._build_data_dir()

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation="",
            features=Features({"predictions": Value("int64"), "references": Value("int64")}),
        )


class Accuracy(_LocalMetric):
    """Share of rows whose predicted class is the labelled one; result key `accuracy`."""

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(_LocalMetric):
    """Mean of the classes' F1, over the classes that occur in labels or predictions; result key `macro_f1`."""

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return {"macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0))}


class MatthewsCorrelation(_LocalMetric):
    """Matthews correlation, from -1 to 1, 0 for a constant prediction or a single class; result key `mcc`."""

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        with warnings.catch_warnings():
            # scikit-learn warns about the shape of a matrix that the user never sees when all rows have one class.
            warnings.filterwarnings("ignore", message="A single label was found", category=UserWarning)
            return {"mcc": float(matthews_corrcoef(references, predictions))}


def classification_metrics() -> evaluate.CombinedEvaluations:
    """Return accuracy, macro-F1 and Matthews correlation as one `evaluate` module.

    `classification_metrics().compute(predictions=ids, references=ids)` gives `accuracy`, `macro_f1` and `mcc`.
    """
    return evaluate.combine([Accuracy(), MacroF1(), MatthewsCorrelation()])
