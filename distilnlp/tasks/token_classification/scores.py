"""Token classification: a word is an item, and its first piece stands for it; a sentence is drawn as a whole."""

import logging
import re
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from seqeval.metrics.sequence_labeling import get_entities
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError, shown
from distilnlp.metrics import EvaluationTask, Scorer, predict_rows, weighted_scorer
from distilnlp.metrics.calibration import mean_gap
from distilnlp.metrics.fidelity import kl_of_rows, mean_divergence, same_share
from distilnlp.metrics.intervals import ratio
from distilnlp.metrics.labels import check_label_ids, label_values, order_of_classes, require_columns
from distilnlp.metrics.prediction import Collator, Rows, check_finite, split_rows
from distilnlp.metrics.task import ComputeMetrics, trainer_logits, training_values
from distilnlp.signals import Batch, label_names_of
from distilnlp.signals.names import NO_LABEL
from distilnlp.tasks.single_label.scores import answered_classes, softmax_confidences

logger = logging.getLogger(__name__)

COLUMNS = ("word_starts",)
ENTITY_METRICS = ("entity_f1", "entity_precision", "entity_recall")
ENTITY_TAG = re.compile("([A-Z])(?:[-_](.+))?")
# Per scheme, what its prefixes are in IOBES, in which IOB1, IOB2 and IOE are contained.
SCHEMES = {
    "IOB or IOBES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "BMEWO": {"B": "B", "M": "I", "E": "E", "W": "S"},
}
WordLogits = Sequence[NDArray]


class WordLabels(NamedTuple):
    """The tags of an evaluation.

    Attributes:
        names: of the tags, in the order of the logits; None where the model names none.
        ids: the tag id of each word, an array a row; -100 = none.
    """

    names: tuple[str, ...] | None
    ids: list[NDArray]


def read_word_labels(examples: Rows, config: PreTrainedConfig) -> WordLabels:
    """Return the tags at the first pieces of the words.

    Raises:
        DistillationError: rows do not say where their words start, no word has a tag, or a tag is not one of the
            model's.
    """
    require_columns(examples, COLUMNS, "token classification")
    values = zip(examples, label_values(examples), strict=True)
    ids = [_ids_at_words(np.asarray(row["word_starts"], dtype=bool), value) for row, value in values]
    check_label_ids(np.concatenate(ids), config.num_labels or 0, "word")
    return WordLabels(label_names_of(config), ids)


def _ids_at_words(starts: NDArray, value: Any) -> NDArray:
    labels = np.full(len(starts), NO_LABEL) if value is None else np.asarray(value)
    if labels.shape != starts.shape:
        raise DistillationError(
            f"expected a label for each of a row's {len(starts)} pieces, -100 where no word starts, but a row has "
            f"labels of the shape {labels.shape}. Make labels and word_starts from the same tokenised words."
        )
    return labels[starts]


def predict_words(
    model: PreTrainedModel, examples: Rows, collator: Collator, batch_size: int = 32, owner: str = "the model"
) -> list[NDArray[np.float32]]:
    """Return a model's logits `[words, labels]` at the first pieces of the words of each row.

    Raises:
        DistillationError: there are no rows, or a logit is NaN or infinite.
    """
    return predict_rows(model, examples, collator, _read_words, columns=COLUMNS, batch_size=batch_size, owner=owner)


def _read_words(outputs: Any, batch: Batch) -> list[NDArray]:
    starts = batch["word_starts"].bool()
    return split_rows(outputs.logits[starts], starts)


def align_tags(logits: WordLogits, own: PreTrainedConfig, first: PreTrainedConfig) -> WordLogits:
    """Return logits with the tags in the order of the first model; see `align_classes`."""
    order = order_of_classes(own, first)
    return logits if order is None else [row[:, order] for row in logits]


def token_scorer(logits: WordLogits, labels: WordLabels) -> Scorer:
    """Return the scorer of the tags of the labelled words; a unit is a sentence.

    Where the tags follow one of `SCHEMES`, F1, precision and recall of whole entities come first: over all entities of
    the data, an entity right only with both borders and its type (CoNLL-2003, arXiv cs/0306050; the spans are
    seqeval's). Accuracy is over the words.
    """
    tags = entity_tags(labels.names)
    names = None if tags is None else np.array(tags)
    counts = [
        _count(row[ids != NO_LABEL].argmax(-1), ids[ids != NO_LABEL], names)
        for row, ids in zip(logits, labels.ids, strict=True)
        if (ids != NO_LABEL).any()
    ]
    return weighted_scorer(partial(_scores, counts=np.array(counts, dtype=np.float64)), len(counts))


def always_most_frequent_tag(labels: WordLabels) -> Scorer:
    """Return the scorer of one tag for all words, the one that most of them have."""
    counts = words_per_tag(labels, 1)
    best = np.arange(len(counts)) == counts.argmax()
    return token_scorer([np.broadcast_to(best, (len(ids), len(best))) for ids in labels.ids], labels)


def words_per_tag(labels: WordLabels, num_tags: int) -> NDArray:
    """Count the words of each tag."""
    ids = np.concatenate(labels.ids)
    return np.bincount(ids[ids != NO_LABEL], minlength=num_tags)


@cache  # so that it is said once
def entity_tags(names: tuple[str, ...] | None) -> list[str] | None:
    """Return the tags as IOBES writes them, or None, which is said, where they follow no scheme of `SCHEMES`.

    A prefix comes before `-` or `_` and the type of the entity; of entities without types it is the whole tag.
    """
    if names is None:
        logger.info("the word tags have no names: accuracy over the words is measured, not F1 of entities")
        return None
    found = {name: ENTITY_TAG.fullmatch(name) for name in names if name != "O"}
    parts = {name: match.groups() for name, match in found.items() if match}
    are_alike = len({kind is None for _, kind in parts.values()}) == 1
    if len(parts) == len(found) and are_alike:
        for scheme, letters in SCHEMES.items():
            if {prefix for prefix, _ in parts.values()} <= set(letters):
                logger.info("the word tags follow %s: whole entities are scored", scheme)
                rewritten = {name: f"{letters[prefix]}-{kind or ''}" for name, (prefix, kind) in parts.items()}
                return [rewritten.get(name, name) for name in names]
    other = next((name for name in names if name != "O" and name not in parts), "their prefixes together")
    logger.info(
        "the word tags follow none of the schemes %s (%s): accuracy over the words is measured, not F1 of entities",
        ", ".join(SCHEMES),
        shown(other),
    )
    return None


def _count(found: NDArray, ids: NDArray, names: NDArray | None) -> list[int]:
    """Count a sentence's hit, predicted and labelled entities, if tags name any; then its right words and all words."""
    of_words = [int((found == ids).sum()), len(ids)]
    if names is None:
        return of_words
    predicted, labelled = (set(get_entities(names[tags].tolist())) for tags in (found, ids))
    return [len(predicted & labelled), len(predicted), len(labelled), *of_words]


def _scores(weights: NDArray, counts: NDArray) -> dict[str, NDArray]:
    """Score draws: weights `[..., sentences]`, counts `[sentences, 2 or 5]` as `_count` gives them."""
    *of_entities, right, words = np.moveaxis(weights @ counts, -1, 0)
    accuracy = {"accuracy": ratio(right, words)}
    if not of_entities:
        return accuracy
    hits, predicted, labelled = of_entities
    of_entities = ratio(2 * hits, predicted + labelled), ratio(hits, predicted), ratio(hits, labelled)
    return dict(zip(ENTITY_METRICS, of_entities, strict=True)) | accuracy


def token_metrics(config: PreTrainedConfig) -> tuple[str, ...]:
    """Return the names of the metrics, those of entities first if the tags name any."""
    names = label_names_of(config)
    return ("accuracy",) if entity_tags(names and tuple(names)) is None else (*ENTITY_METRICS, "accuracy")


def compute_token_metrics(config: PreTrainedConfig) -> ComputeMetrics:
    """Return the function that scores logits `[rows, length, labels]` against tag ids `[rows, length]` for a Trainer.

    Positions whose tag id is -100 are left out. The results are those of `token_scorer`.
    """
    names = label_names_of(config)

    def compute(eval_prediction: EvalPrediction) -> dict[str, float]:
        logits, ids = trainer_logits(eval_prediction), np.asarray(eval_prediction.label_ids)
        check_label_ids(ids.reshape(-1), logits.shape[-1], "word")
        words = [row[tags != NO_LABEL] for row, tags in zip(logits, ids, strict=True)]
        check_finite(words, "the model under evaluation")
        return training_values(token_scorer(words, WordLabels(names, [tags[tags != NO_LABEL] for tags in ids])))

    return compute


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


def word_calibration(logits: WordLogits, labels: WordLabels) -> float:
    """Return the calibration error of the softmax of the logits over the words with a tag."""
    return mean_gap(softmax_confidences(*row) for row in zip(logits, labels.ids, strict=True))


def answered_tags(logits: WordLogits, labels: WordLabels) -> tuple[NDArray, NDArray]:
    """Return the answered and the labelled tag ids of all words with a tag."""
    return answered_classes(np.concatenate(logits), np.concatenate(labels.ids))


TOKEN_EVALUATION = EvaluationTask(
    read_labels=read_word_labels,
    predict=predict_words,
    align=align_tags,
    scores=token_scorer,
    fidelity={"agreement": word_agreement, "kl": word_kl},
    calibration_error=word_calibration,
    constant=always_most_frequent_tag,
    constant_name="the most frequent tag for every word",
    class_counts=words_per_tag,
    compute_metrics=compute_token_metrics,
    training_metrics=token_metrics,
    columns=COLUMNS,
    classes=answered_tags,
)
