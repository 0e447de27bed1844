"""Whether a model's labels stand in another order than the data's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from transformers import PreTrainedModel

from distilnlp.errors import shortened
from distilnlp.evaluation.prediction import Collator, Rows
from distilnlp.evaluation.task import EvaluationTask

FAR_BETTER = 0.3  # in accuracy
WELL = 0.5


def order_that_fits(model: PreTrainedModel, examples: Rows, collator: Collator, task: EvaluationTask) -> str | None:
    """Say which order of the labels fits a model's answers far better than the one it has; None if there is none.

    Every permutation is compared at once, as an assignment of answers to labels.

    Args:
        model: a finished model whose label ids are those of the examples.
        examples: tokenised rows with labels.
        collator: of them.
        task: how they are scored.
    """
    if task.classes is None:
        return None
    labels = task.read_labels(examples, model.config)
    answers, known = task.classes(task.predict(model, examples, collator, 32, "the teacher"), labels)
    count = int(model.config.num_labels or 0)
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (known, answers), 1)
    _, order = linear_sum_assignment(-confusion)
    now, then = np.trace(confusion) / len(known), confusion[np.arange(count), order].sum() / len(known)
    if then < WELL or then - now < FAR_BETTER:
        return None
    names = [str((model.config.id2label or {}).get(index, index)) for index in order]
    return (
        f"its answers to these rows are right in {now:.0%}, and would be in {then:.0%} if its labels stood in the "
        f"order {_listed(order)}. Where the data holds ids, set data.label_names: [{_listed(names)}]; where it holds "
        "names, the order in the model's id2label is wrong."
    )


def _listed(values: Sequence[Any]) -> str:
    return shortened(", ".join(map(str, values)), 300)
