"""Extractive question answering: a question is a unit, and its context is read in one window or more."""

import logging
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from datasets import Features, List, Value
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.metrics import Figure, Scorer, Scoring, TaskMetric, ratio, same_share, weighted_means, weighted_scorer
from distilnlp.metrics.label_reading import require_columns, require_labelled
from distilnlp.metrics.prediction import Collator, Example, Rows, split_rows
from distilnlp.signals import Batch
from distilnlp.tasks.question_answering.squad import NO_ANSWER

logger = logging.getLogger(__name__)

ROW_COLUMNS = ("example", "context", "context_mask", "offsets")
MAX_ANSWER_LENGTH = 30
THRESHOLD = "no_answer_threshold"  # of a model's config
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


class AnswerMetrics(TaskMetric):
    """SQuAD's F1 and exact match of texts (Rajpurkar et al. 2016, arXiv 1606.05250); a unit is a question.

    Both count the best of a question's reference answers; questions without one are not labelled and left out. Where
    some have the answer `NO_ANSWER`, figures of both kinds of questions are there too (SQuAD 2.0, arXiv 1806.03822).
    """

    figures = (
        Figure("f1", "F1"),
        Figure("exact_match", "exact match"),
        Figure("answerable_f1", "F1, answerable", "no question has an answer"),
        Figure("answerable_exact_match", "exact match, answerable", "no question has an answer"),
        Figure("no_answer_accuracy", "no answer, accuracy", "every question has an answer"),
    )
    inputs = Features({"predictions": Value("string"), "references": List(Value("string"))})

    @staticmethod
    def scorer(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Scorer:
        pairs = [(answer, expected) for answer, expected in zip(predictions, references, strict=True) if expected]
        lacks = np.array([[*expected] == [NO_ANSWER] for _, expected in pairs])
        if lacks.any():  # then what is left of no reference without case, punctuation and articles is no answer either
            pairs = [(answer, [one for one in own if _words(one)] or [NO_ANSWER]) for answer, own in pairs]
        columns = {
            "f1": np.array([max(answer_f1(answer, one) for one in expected) for answer, expected in pairs]),
            "exact_match": np.array(
                [any(_words(answer) == _words(one) for one in expected) for answer, expected in pairs], dtype=np.float64
            ),
        }

        def scores(weights: NDArray) -> dict[str, NDArray]:
            means = weighted_means(weights, columns)
            if not lacks.any():
                return means
            answerable = weights * ~lacks
            for name, column in columns.items():
                means[f"answerable_{name}"] = ratio(answerable @ column, answerable.sum(-1))
            right = (weights * lacks) @ columns["exact_match"]
            return {**means, "no_answer_accuracy": ratio(right, (weights * lacks).sum(-1))}

        return weighted_scorer(scores, len(pairs))


class Answer(NamedTuple):
    """What a model finds in all windows of a question."""

    text: str  # of the best span
    score: float  # its start + end logit
    lacking: float  # that of no answer, the least of all windows; -inf where every question has one

    @property
    def margin(self) -> float:
        """How far no answer is above the best span."""
        return self.lacking - self.score


class QuestionScoring(Scoring):
    """Question answering: a text each question, in the order of the questions' indices, and its reference answers."""

    metrics = (AnswerMetrics,)
    fidelity: ClassVar = {"agreement": same_share}
    constant_name = "the same answer to every question"
    columns = ("context_mask",)
    logits_tell = False

    def read_labels(self, examples: Rows, config: PreTrainedConfig) -> list[list[str]]:
        """Return the reference answers of each question; none = not labelled."""
        require_columns(examples, ROW_COLUMNS, "question answering")
        answers = {row["example"]: _references(row) for row in examples}
        labels = [answers[question] for question in sorted(answers)]
        require_labelled([bool(references) for references in labels], "question")
        return labels

    def predict(
        self, model: PreTrainedModel, examples: Rows, collator: Collator, batch_size: int = 32, owner: str = "the model"
    ) -> list[str]:
        """Return a model's answer to each question.

        It is the span of highest start + end logit over all windows of the question, inside the context and of at most
        30 pieces; of equal ones the first. It is `NO_ANSWER` where the rows say that there may be none, and its margin
        over that span is above the config's `no_answer_threshold` (0 if it has none).
        """
        threshold = getattr(model.config, THRESHOLD, 0.0)
        found = self.find(model, examples, collator, batch_size, owner)
        return [NO_ANSWER if answer.margin > threshold else answer.text for answer in found]

    def find(
        self, model: PreTrainedModel, examples: Rows, collator: Collator, batch_size: int = 32, owner: str = "the model"
    ) -> list[Answer]:
        """Return the best answer to each question, in the order of their indices, and what speaks for none."""
        require_columns(examples, ROW_COLUMNS, "question answering")
        best: dict[int, Answer] = {}
        for row, logits in zip(examples, super().predict(model, examples, collator, batch_size, owner), strict=True):
            found, known = _answer_of(row, logits), best.get(row["example"])
            if known is None or found.score > known.score:
                best[row["example"]] = found
            if known is not None:
                least = min(known.lacking, found.lacking)
                best[row["example"]] = best[row["example"]]._replace(lacking=least)
        return [best[question] for question in sorted(best)]

    def settle(self, model: PreTrainedModel, examples: Rows, collator: Collator) -> None:
        """Set the config's `no_answer_threshold` to what gives the highest F1 on these rows, if some have no answer."""
        labels = self.read_labels(examples, model.config)
        if [NO_ANSWER] not in labels:
            return
        threshold, f1 = best_threshold(self.find(model, examples, collator), labels)
        setattr(model.config, THRESHOLD, threshold)
        logger.info(
            "no answer is given where its score is more than %.2f above the best one's: F1 %.1f%% on %d questions",
            threshold,
            100 * f1,
            len(labels),
        )

    def read_outputs(self, outputs: Any, batch: Batch) -> list[NDArray]:
        """Return start and end logits `[pieces, 2]` of the context of each row."""
        mask = batch["context_mask"].bool()
        return split_rows(torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)[mask], mask)

    def constant(self, labels: Sequence[Sequence[str]]) -> Scorer:
        """Return the scorer of the most frequent reference answer, given to every question."""
        answer, _ = Counter(reference for references in labels for reference in references).most_common(1)[0]
        return self.scores([answer] * len(labels), labels)

    def as_labels(self, predictions: Sequence[str], config: PreTrainedConfig) -> list[list[str]]:
        return [[answer] for answer in predictions]

    def answers(
        self, predictions: Sequence[str], labels: Sequence[Sequence[str]]
    ) -> tuple[list[str], list[Sequence[str]]]:
        """Return a text and the reference answers of each question that has some."""
        pairs = zip(predictions, labels, strict=True)
        found = [(answer, references) for answer, references in pairs if references]
        return [answer for answer, _ in found], [references for _, references in found]

    def perfect_answers(self, config: PreTrainedConfig) -> tuple[list[str], list[list[str]]]:
        return ["an answer"], [["an answer"]]


def _references(row: Example) -> list[str]:
    answers = row.get("answers") or []
    if not isinstance(answers, list | tuple) or not all(isinstance(answer, str) for answer in answers):
        raise DistillationError(
            f"expected the answers of a question as a list of texts, but question {row['example']} has {answers!r}. "
            "Give the column 'answers' the texts alone."
        )
    return list(answers)


def _answer_of(row: Example, logits: NDArray) -> Answer:
    """Return the best answer of a window; an empty one where the window holds no context."""
    mask = np.asarray(row["context_mask"], dtype=bool)
    offsets, lacking = np.asarray(row["offsets"]).reshape(-1, 2)[mask], -np.inf
    if mask[0] and offsets[0][0] == offsets[0][1]:  # the first token stands for no answer
        lacking, offsets, logits = float(logits[0].astype(np.float64).sum()), offsets[1:], logits[1:]
    if not len(logits):
        return Answer("", -np.inf, lacking)
    score, first, last = best_span(*logits.astype(np.float64).T)
    return Answer(row["context"][offsets[first][0] : offsets[last][1]].strip(), score, lacking)


def best_threshold(found: Sequence[Answer], references: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Return the threshold of the margin of no answer that gives the highest F1, of equal ones the lowest, and this F1.

    It is that of SQuAD 2.0's own script, the margin of a question, above which no answer is given; where no answer to
    any question is best, it is just below all margins (the script says 0 there, which need not give that F1). Questions
    without a reference are not labelled and do not count.
    """
    known = [(answer, own) for answer, own in zip(found, references, strict=True) if own]
    gains = sorted(
        (
            answer.margin,
            -float(answer.text != "") if own == [NO_ANSWER] else max(answer_f1(answer.text, one) for one in own),
        )
        for answer, own in known
    )
    score = best = float(sum(own == [NO_ANSWER] for _, own in known))  # of no answer to every question
    threshold = float(np.nextafter(gains[0][0], -np.inf))
    for margin, gain in gains:
        score += gain
        if score > best:
            best, threshold = score, margin
    return threshold, best / len(known)


def best_span(
    start_logits: NDArray, end_logits: NDArray, max_length: int = MAX_ANSWER_LENGTH
) -> tuple[float, int, int]:
    """Return the highest start + end logit of a span of at most `max_length` pieces, and its first and last piece.

    Every such span of the `[pieces]`, at least one, is tried, as a matrix of starts and lengths.
    """
    length = min(max_length, len(start_logits))
    beyond = np.full(length - 1, -np.inf)
    sums = start_logits[:, None] + sliding_window_view(np.concatenate([end_logits, beyond]), length)
    first, extra = np.unravel_index(sums.argmax(), sums.shape)
    return float(sums[first, extra]), int(first), int(first + extra)


def answer_f1(answer: str, reference: str) -> float:
    """Return the F1 of the words of an answer, each counted as often as it occurs; see `AnswerMetrics`."""
    found, expected = _words(answer), _words(reference)
    if reference == NO_ANSWER:
        return float(not found)
    shared = (Counter(found) & Counter(expected)).total()
    return 2 * shared / (len(found) + len(expected)) if shared else 0.0


def _words(answer: str) -> list[str]:
    """Return an answer's words without case, punctuation and articles."""
    return ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split()


QUESTION_EVALUATION = QuestionScoring()
