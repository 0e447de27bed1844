"""Masked language modelling: a masked token is an item, and a text is drawn as a whole."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.metrics import EvaluationTask, Scorer, predict_rows, weighted_scorer
from distilnlp.metrics.fidelity import same_share
from distilnlp.metrics.labels import check_label_ids, keep_order, require_columns
from distilnlp.metrics.prediction import Collator, Rows, split_rows
from distilnlp.metrics.task import no_training_metrics
from distilnlp.models.selected_head import head_on, logits_at
from distilnlp.signals import Batch
from distilnlp.signals.names import NO_LABEL

COLUMNS = ("labels",)


class MaskedTokens(NamedTuple):
    """What is kept of a model's logits `[length, vocabulary]` at the masked positions of a row.

    Attributes:
        losses: −log probability of the token that was masked, `[masked]`, in nats.
        best: id of the likeliest token, `[masked]`.
    """

    losses: NDArray
    best: NDArray


def read_masked_tokens(examples: Rows, config: PreTrainedConfig) -> list[NDArray]:
    """Return the ids of the tokens that were masked, an array a row.

    Raises:
        DistillationError: the rows are not masked yet, or an id is not in the vocabulary.
    """
    require_columns(examples, COLUMNS, "masked language modelling, masked for an evaluation,")
    labels = [np.asarray(row["labels"]) for row in examples]
    for row, of_row in zip(examples, labels, strict=True):
        if of_row.shape != (len(row["input_ids"]),):
            raise DistillationError(
                f"expected a label for each of a row's {len(row['input_ids'])} pieces, -100 where none is masked, but "
                f"a row has labels of the shape {of_row.shape}. Mask the rows with the task's own tokenisation."
            )
    check_label_ids(np.concatenate(labels), config.vocab_size, "token")
    return [row[row != NO_LABEL] for row in labels]


def predict_masked(
    model: PreTrainedModel, examples: Rows, collator: Collator, batch_size: int = 32, owner: str = "the model"
) -> list[MaskedTokens]:
    """Return of each row what a model thinks of its masked tokens; the head runs on these alone, a batch at a time.

    Raises:
        DistillationError: there are no rows, or a loss is NaN or infinite.
    """
    return predict_rows(
        model,
        examples,
        collator,
        _read_masked,
        columns=COLUMNS,
        batch_size=batch_size,
        owner=owner,
        around=_head_on_masked,
    )


def _head_on_masked(model: PreTrainedModel, batch: Batch) -> AbstractContextManager[Any]:
    """Run the head on the masked tokens alone, where it can be told to."""
    is_known = isinstance(model, PreTrainedModel)
    return head_on(model, batch["labels"] != NO_LABEL) if is_known else nullcontext()


def _read_masked(outputs: Any, batch: Batch) -> list[MaskedTokens]:
    masked = batch["labels"] != NO_LABEL
    logits = logits_at(outputs.logits, masked).float()
    losses = split_rows(F.cross_entropy(logits, batch["labels"][masked], reduction="none"), masked)
    return [MaskedTokens(*row) for row in zip(losses, split_rows(logits.argmax(-1), masked), strict=True)]


def masked_lm_scorer(predictions: Sequence[MaskedTokens], labels: Sequence[NDArray]) -> Scorer:
    """Return the scorer of perplexity, exp of the mean loss over the masked tokens, and accuracy; a unit is a text."""
    counts = [
        [row.losses.sum(dtype=np.float64), (row.best == ids).sum(), len(ids)]
        for row, ids in zip(predictions, labels, strict=True)
        if len(ids)
    ]
    return weighted_scorer(partial(_scores, counts=np.array(counts, dtype=np.float64)), len(counts))


def _scores(weights: NDArray, counts: NDArray) -> dict[str, NDArray]:
    """Score draws: weights `[..., texts]`, counts `[texts, 3]` of loss, hits and masked tokens."""
    loss, hits, masked = np.moveaxis(weights @ counts, -1, 0)
    with np.errstate(over="ignore"):  # infinite, which a report says
        return {"perplexity": np.exp(loss / masked), "accuracy": hits / masked}


def always_most_frequent_token(labels: Sequence[NDArray]) -> Scorer:
    """Return the scorer, of the accuracy alone, of the one token that was masked most often."""
    texts = [ids for ids in labels if len(ids)]
    best = np.bincount(np.concatenate(texts)).argmax()
    counts = np.array([[(ids == best).sum(), len(ids)] for ids in texts], dtype=np.float64)

    def scores(weights: NDArray) -> dict[str, NDArray]:
        hits, masked = np.moveaxis(weights @ counts, -1, 0)
        return {"accuracy": hits / masked}

    return weighted_scorer(scores, len(texts))


def masked_agreement(student: Sequence[MaskedTokens], reference: Sequence[MaskedTokens]) -> float:
    """Share of the masked tokens for which both models put the same token first."""
    return same_share(*(np.concatenate([row.best for row in rows]) for rows in (student, reference)))


MASKED_LM_EVALUATION = EvaluationTask(
    read_labels=read_masked_tokens,
    predict=predict_masked,
    align=keep_order,
    scores=masked_lm_scorer,
    fidelity={"agreement": masked_agreement},
    calibration_error=None,
    constant=always_most_frequent_token,
    constant_name="the most frequent token everywhere",
    compute_metrics=no_training_metrics,
    training_metrics=lambda config: (),
    columns=COLUMNS,
)
