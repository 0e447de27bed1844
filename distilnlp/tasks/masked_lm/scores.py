"""Masked language modelling: a masked token is an item, and a text is drawn as a whole."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch.nn.functional as F
from datasets import Features, List, Value
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.metrics import ACCURACY, Figure, Scorer, Scoring, TaskMetric, same_share, weighted_scorer
from distilnlp.metrics.label_reading import check_label_ids, require_columns
from distilnlp.metrics.prediction import Rows, split_rows
from distilnlp.models.selected_head import head_on, logits_at
from distilnlp.signals import NO_LABEL, Batch


class MaskedTokens(NamedTuple):
    """What is kept of a model's logits `[length, vocabulary]` at the masked positions of a row."""

    losses: NDArray  # −log probability of the token that was masked, `[masked]`, in nats
    best: NDArray  # id of the likeliest token, `[masked]`


class MaskedTokenMetrics(TaskMetric):
    """Perplexity, exp of the mean loss over the masked tokens, and accuracy; a unit is a text.

    The predictions are `losses` and `best` of `MaskedTokens`, the references the ids that were masked.
    """

    figures = (
        Figure(
            "perplexity",
            "perplexity (lower is better)",
            "the loss is so large that it overflows",
            is_share=False,
            higher_is_better=False,
        ),
        ACCURACY,
    )
    inputs = Features(
        {
            "predictions": {"losses": List(Value("float32")), "best": List(Value("int64"))},
            "references": List(Value("int64")),
        }
    )

    @staticmethod
    def scorer(predictions: Sequence[MaskedTokens], references: Sequence[NDArray]) -> Scorer:
        counts = [
            [row.losses.sum(dtype=np.float64), (row.best == ids).sum(), len(ids)]
            for row, ids in zip(predictions, references, strict=True)
            if len(ids)
        ]
        return weighted_scorer(partial(_scores, counts=np.array(counts, dtype=np.float64)), len(counts))

    def _compute(
        self, *, predictions: Sequence[Mapping[str, ArrayLike]], references: Sequence[NDArray]
    ) -> dict[str, float]:
        rows = [MaskedTokens(*(np.array(row[name]) for name in MaskedTokens._fields)) for row in predictions]
        return self.scorer(rows, references).values()


def masked_agreement(student: Sequence[MaskedTokens], reference: Sequence[MaskedTokens]) -> float:
    """Share of the masked tokens for which both models put the same token first."""
    return same_share(*(np.concatenate([row.best for row in rows]) for rows in (student, reference)))


class MaskedLMScoring(Scoring):
    """Masked language modelling: `MaskedTokens` and the ids of the tokens that were masked, an array a row."""

    metrics = (MaskedTokenMetrics,)
    fidelity: ClassVar = {"agreement": masked_agreement}
    constant_name = "the most frequent token everywhere"
    columns = ("labels",)
    logits_tell = False

    def read_labels(self, examples: Rows, config: PreTrainedConfig) -> list[NDArray]:
        """Return the ids of the tokens that were masked."""
        require_columns(examples, self.columns, "masked language modelling, masked for an evaluation,")
        labels = [np.asarray(row["labels"]) for row in examples]
        for row, of_row in zip(examples, labels, strict=True):
            if of_row.shape != (len(row["input_ids"]),):
                raise DistillationError(
                    f"expected a label for each of a row's {len(row['input_ids'])} pieces, -100 where none is masked, "
                    f"but a row has labels of the shape {of_row.shape}. Mask the rows with the task's own tokenisation."
                )
        check_label_ids(np.concatenate(labels), config.vocab_size, "token")
        return [row[row != NO_LABEL] for row in labels]

    def around(self, model: PreTrainedModel, batch: Batch) -> AbstractContextManager[object]:
        """Run the head on the masked tokens alone, where it can be told to."""
        is_known = isinstance(model, PreTrainedModel)
        return head_on(model, batch["labels"] != NO_LABEL) if is_known else nullcontext()

    def read_outputs(self, outputs: Any, batch: Batch) -> list[MaskedTokens]:
        """Return what a model thinks of the masked tokens."""
        masked = batch["labels"] != NO_LABEL
        logits = logits_at(outputs.logits, masked).float()
        losses = split_rows(F.cross_entropy(logits, batch["labels"][masked], reduction="none"), masked)
        return [MaskedTokens(*row) for row in zip(losses, split_rows(logits.argmax(-1), masked), strict=True)]

    def constant(self, labels: Sequence[NDArray]) -> Scorer:
        """Return the scorer, of the accuracy alone, of the one token that was masked most often."""
        texts = [ids for ids in labels if len(ids)]
        best = np.bincount(np.concatenate(texts)).argmax()
        counts = np.array([[(ids == best).sum(), len(ids)] for ids in texts], dtype=np.float64)

        def scores(weights: NDArray) -> dict[str, NDArray]:
            hits, masked = np.moveaxis(weights @ counts, -1, 0)
            return {"accuracy": hits / masked}

        return weighted_scorer(scores, len(texts))

    def answers(self, predictions: Sequence[MaskedTokens], labels: Sequence[NDArray]) -> tuple[NDArray, NDArray]:
        """Return the likeliest and the masked token ids of all texts, one after another."""
        return np.concatenate([row.best for row in predictions]), np.concatenate(list(labels))


def _scores(weights: NDArray, counts: NDArray) -> dict[str, NDArray]:
    """Score draws: weights `[..., texts]`, counts `[texts, 3]` of loss, hits and masked tokens."""
    loss, hits, masked = np.moveaxis(weights @ counts, -1, 0)
    with np.errstate(over="ignore"):  # infinite, which a report says
        return {"perplexity": np.exp(loss / masked), "accuracy": hits / masked}


MASKED_LM_EVALUATION = MaskedLMScoring()
