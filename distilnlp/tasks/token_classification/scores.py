"""Token classification: a word is an item, and its first piece stands for it; a sentence is drawn as a whole."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray
from transformers import PreTrainedConfig

from distilnlp.errors import DistillationError
from distilnlp.labels import label_of
from distilnlp.metrics import ACCURACY, Figure, Scorer, Scoring, TaskMetric, mean_gap, ratio, weighted_scorer
from distilnlp.metrics.fidelity import kl_of_rows, mean_divergence, same_share
from distilnlp.metrics.label_reading import check_label_ids, order_of_classes, require_columns
from distilnlp.metrics.prediction import Rows, check_finite, split_rows
from distilnlp.signals import NO_LABEL, Batch, label_names_of
from distilnlp.tasks.single_label.scores import answered_classes, softmax_confidences
from distilnlp.tasks.token_classification.schemes import entity_tags

WordLogits = Sequence[NDArray]


class WordLabels(NamedTuple):
    """The tags of an evaluation."""

    names: tuple[str, ...] | None  # of the tags, in the order of the logits; None where the model names none
    ids: list[NDArray]  # the tag id of each word, an array a row; -100 = none


class TagMetrics(TaskMetric):
    """F1, precision and recall of whole entities, and accuracy over the words; a unit is a sentence.

    Those of entities are there where the tags follow one of `schemes.SCHEMES`: over all entities of the data, an entity
    right only with both borders and its type (CoNLL-2003, arXiv cs/0306050; the spans are seqeval's).
    """

    figures = (
        Figure("entity_f1", "entity F1", "there are no entities, and none is predicted"),
        Figure("entity_precision", "entity precision", "no entity is predicted"),
        Figure("entity_recall", "entity recall", "there are no entities"),
        ACCURACY,
    )
    inputs = Features({"predictions": List(Value("string")), "references": List(Value("string"))})

    @staticmethod
    def scorer(predictions: Sequence[NDArray], references: Sequence[NDArray], names: tuple[str, ...] | None) -> Scorer:
        """Return the scorer of the ids of tags `[words]`, an array a sentence, -100 = none, by the tags' names."""
        tags = entity_tags(names)
        as_entities = None if tags is None else np.array(tags)
        counts = [
            _count(found[ids != NO_LABEL], ids[ids != NO_LABEL], as_entities)
            for found, ids in zip(predictions, references, strict=True)
            if (ids != NO_LABEL).any()
        ]
        return weighted_scorer(partial(_scores, counts=np.array(counts, dtype=np.float64)), len(counts))

    def _compute(
        self, *, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        names = tuple(sorted({tag for sentence in (*predictions, *references) for tag in sentence}))
        found, ids = ([np.array([*map(names.index, row)]) for row in rows] for rows in (predictions, references))
        return self.scorer(found, ids, names).values()


def _count(found: NDArray, ids: NDArray, names: NDArray | None) -> list[int]:
    """Count a sentence's hit, predicted and labelled entities, if tags name any; then its right words and all words."""
    of_words = [int((found == ids).sum()), len(ids)]
    if names is None:
        return of_words
    from seqeval.metrics.sequence_labeling import get_entities  # imports scikit-learn

    predicted, labelled = (set(get_entities(names[tags].tolist())) for tags in (found, ids))
    return [len(predicted & labelled), len(predicted), len(labelled), *of_words]


def _scores(weights: NDArray, counts: NDArray) -> dict[str, NDArray]:
    """Score draws: weights `[..., sentences]`, counts `[sentences, 2 or 5]` as `_count` gives them."""
    *of_entities, right, words = np.moveaxis(weights @ counts, -1, 0)
    accuracy = {"accuracy": ratio(right, words)}
    if not of_entities:
        return accuracy
    hits, predicted, labelled = of_entities
    f1, precision, recall = ratio(2 * hits, predicted + labelled), ratio(hits, predicted), ratio(hits, labelled)
    return {"entity_f1": f1, "entity_precision": precision, "entity_recall": recall, **accuracy}


def word_agreement(student: WordLogits, reference: WordLogits) -> float:
    """Share of the words for which both models prefer the same tag."""
    _check_words(student, reference)
    return same_share(*(np.concatenate([row.argmax(-1) for row in rows]) for rows in (student, reference)))


def word_kl(student: WordLogits, reference: WordLogits) -> float:
    """Mean over the words of KL(reference ‖ student), in nats."""
    _check_words(student, reference)
    return mean_divergence(kl_of_rows(*rows) for rows in zip(student, reference, strict=True))


def _check_words(student: WordLogits, reference: WordLogits) -> None:
    if [len(row) for row in student] != [len(row) for row in reference]:
        raise DistillationError(
            "expected student and reference to have read the same words of each row, but their numbers of words "
            "differ. Cut the rows of both tokenizers after the same word."
        )


class TokenScoring(Scoring):
    """Token classification: logits `[words, tags]` at the first pieces of the words, a row each, and `WordLabels`."""

    metrics = (TagMetrics,)
    fidelity: ClassVar = {"agreement": word_agreement, "kl": word_kl}
    constant_name = "the most frequent tag for every word"
    columns = ("word_starts",)

    def read_labels(self, examples: Rows, config: PreTrainedConfig) -> WordLabels:
        """Return the tags at the first pieces of the words."""
        require_columns(examples, self.columns, "token classification")
        ids = [_ids_at_words(np.asarray(row["word_starts"], dtype=bool), label_of(row)) for row in examples]
        check_label_ids(np.concatenate(ids), config.num_labels or 0, "word")
        return WordLabels(label_names_of(config), ids)

    def read_outputs(self, outputs: Any, batch: Batch) -> list[NDArray]:
        starts = batch["word_starts"].bool()
        return split_rows(outputs.logits[starts], starts)

    def align(self, predictions: WordLogits, own: PreTrainedConfig, first: PreTrainedConfig) -> WordLogits:
        """Return logits with the tags in the order of the first model; see `align_classes`."""
        order = order_of_classes(own, first)
        return predictions if order is None else [row[:, order] for row in predictions]

    def scores(self, predictions: WordLogits, labels: WordLabels) -> Scorer:
        return TagMetrics.scorer([row.argmax(-1) for row in predictions], labels.ids, labels.names)

    def constant(self, labels: WordLabels) -> Scorer:
        """Return the scorer of one tag for all words, the one that most of them have."""
        best = self.class_counts(labels, 1).argmax()
        return TagMetrics.scorer([np.full_like(ids, best) for ids in labels.ids], labels.ids, labels.names)

    def as_labels(self, predictions: WordLogits, config: PreTrainedConfig) -> WordLabels:
        return WordLabels(label_names_of(config), [row.argmax(-1) for row in predictions])

    def calibration_error(self, predictions: WordLogits, labels: WordLabels) -> float:
        return mean_gap(softmax_confidences(*row) for row in zip(predictions, labels.ids, strict=True))

    def class_counts(self, labels: WordLabels, num_classes: int) -> NDArray:
        ids = np.concatenate(labels.ids)
        return np.bincount(ids[ids != NO_LABEL], minlength=num_classes)

    def classes(self, predictions: WordLogits, labels: WordLabels) -> tuple[NDArray, NDArray]:
        return answered_classes(np.concatenate(predictions), np.concatenate(labels.ids))

    def answers(self, predictions: WordLogits, labels: WordLabels) -> tuple[list[list[str]], list[list[str]]]:
        """Return the tags of the words with a tag, a list a sentence, by their names or else their ids as texts."""
        rows = [answered_classes(*row) for row in zip(predictions, labels.ids, strict=True)]
        found, expected = zip(*(row for row in rows if len(row[1])), strict=True)
        return _named(found, labels.names), _named(expected, labels.names)

    def perfect_answers(self, config: PreTrainedConfig) -> tuple[list[list[str]], list[list[str]]]:
        tags = _named([np.arange(config.num_labels or 0)], label_names_of(config))
        return tags, tags

    def training_metrics(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """Return the names of the figures, those of entities first if the tags name any."""
        names = [figure.name for figure in self.figures]
        return tuple(names[-1:] if entity_tags(label_names_of(config)) is None else names)

    def of_trainer(
        self, logits: NDArray, labels: NDArray, config: PreTrainedConfig
    ) -> tuple[list[NDArray], WordLabels]:
        """Return logits `[words, tags]` and ids `[words]`, from `[rows, length, tags]` and `[rows, length]`."""
        check_label_ids(labels.reshape(-1), logits.shape[-1], "word")
        words = [row[ids != NO_LABEL] for row, ids in zip(logits, labels, strict=True)]
        check_finite(words)
        return words, WordLabels(label_names_of(config), [ids[ids != NO_LABEL] for ids in labels])


def _named(rows: Sequence[NDArray], names: tuple[str, ...] | None) -> list[list[str]]:
    return [[names[index] if names else str(index) for index in row] for row in rows]


def _ids_at_words(starts: NDArray, value: Any) -> NDArray:
    labels = np.full(len(starts), NO_LABEL) if value is None else np.asarray(value)
    if labels.shape != starts.shape:
        raise DistillationError(
            f"expected a label for each of a row's {len(starts)} pieces, -100 where no word starts, but a row has "
            f"labels of the shape {labels.shape}. Make labels and word_starts from the same tokenised words."
        )
    return labels[starts]


TOKEN_EVALUATION = TokenScoring()
