"""Extractive question answering: a question is a unit, and its context is read in one window or more."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Features, List, Value
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.metrics import Figure, Scorer, Scoring, TaskMetric, same_share, weighted_means, weighted_scorer
from distilnlp.metrics.label_reading import require_columns, require_labelled
from distilnlp.metrics.prediction import Collator, Example, Rows, split_rows
from distilnlp.signals import Batch

ROW_COLUMNS = ("example", "context", "context_mask", "offsets")
MAX_ANSWER_LENGTH = 30
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


class AnswerMetrics(TaskMetric):
    """SQuAD's F1 and exact match of texts (Rajpurkar et al. 2016, arXiv 1606.05250); a unit is a question.

    Both count the best of a question's reference answers; questions without one are left out.
    """

    figures = (Figure("f1", "F1"), Figure("exact_match", "exact match"))
    inputs = Features({"predictions": Value("string"), "references": List(Value("string"))})

    @staticmethod
    def scorer(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Scorer:
        pairs = [(answer, expected) for answer, expected in zip(predictions, references, strict=True) if expected]
        columns = {
            "f1": np.array([max(answer_f1(answer, one) for one in expected) for answer, expected in pairs]),
            "exact_match": np.array(
                [any(_words(answer) == _words(one) for one in expected) for answer, expected in pairs]
            ),
        }
        return weighted_scorer(lambda weights: weighted_means(weights, columns), len(pairs))


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
        30 pieces; of equal ones the first.
        """
        require_columns(examples, ROW_COLUMNS, "question answering")
        best: dict[int, tuple[float, str]] = {}
        for row, logits in zip(examples, super().predict(model, examples, collator, batch_size, owner), strict=True):
            found = _answer_of(row, logits)
            if row["example"] not in best or found[0] > best[row["example"]][0]:
                best[row["example"]] = found
        return [best[question][1] for question in sorted(best)]

    def read_outputs(self, outputs: Any, batch: Batch) -> list[NDArray]:
        """Return start and end logits `[pieces, 2]` of the context of each row."""
        mask = batch["context_mask"].bool()
        return split_rows(torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)[mask], mask)

    def constant(self, labels: Sequence[Sequence[str]]) -> Scorer:
        """Return the scorer of the most frequent reference answer, given to every question."""
        answer, _ = Counter(reference for references in labels for reference in references).most_common(1)[0]
        return self.scores([answer] * len(labels), labels)

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


def _answer_of(row: Example, logits: NDArray) -> tuple[float, str]:
    """Return the best answer of a window with its score; an empty one where the window holds no context."""
    if not len(logits):
        return -np.inf, ""
    score, first, last = best_span(*logits.astype(np.float64).T)
    offsets = np.asarray(row["offsets"])[np.asarray(row["context_mask"], dtype=bool)]
    return score, row["context"][offsets[first][0] : offsets[last][1]].strip()


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
    shared = (Counter(found) & Counter(expected)).total()
    return 2 * shared / (len(found) + len(expected)) if shared else 0.0


def _words(answer: str) -> list[str]:
    """Return an answer's words without case, punctuation and articles."""
    return ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split()


QUESTION_EVALUATION = QuestionScoring()
