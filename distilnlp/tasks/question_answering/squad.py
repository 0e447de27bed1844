"""SQuAD's own file format: articles of paragraphs of questions (arXiv 1606.05250)."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from datasets import Dataset, Features, List, Value

from distilnlp.data import LISTS, Columns, Part, is_empty, is_text, read_in_parts, with_columns, with_written_values
from distilnlp.errors import DistillationError
from distilnlp.signals import CONTEXT, QUESTION

ANSWERS = "answers"
NO_ANSWER = ""  # the answer to a question that its context does not answer (SQuAD 2.0, arXiv 1806.03822)
NOWHERE = -1  # where that starts
ALONE = (("answer_text", "answer"), "answer_start")  # columns of one answer a row, beside one another
ANSWER_TYPE = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
FLAT = Features({QUESTION: Value("string"), CONTEXT: Value("string"), ANSWERS: ANSWER_TYPE})


def flatten_squad(dataset: Dataset) -> Dataset:
    """Return one row a question of a nested file, `{"data": [{"paragraphs": [...]}]}`; other data as it is.

    A question without `answers` has null there, and one that `is_impossible` has none.

    Raises:
        DistillationError: a nested file lacks a part.
    """
    if not _is_nested(dataset):
        return dataset
    return read_in_parts(dataset, _flatten, FLAT, key=_flatten.__qualname__, desc="Reading the questions")


def _flatten(part: Part) -> Columns:
    try:
        rows = list(_questions(part.rows))
    except (KeyError, TypeError) as error:
        raise DistillationError(
            "expected a file in the form of SQuAD: data, paragraphs, context and qas, and in these question and "
            f"answers, but {type(error).__name__} {error} came up. Compare it with train-v1.1.json."
        ) from error
    return {name: [row[name] for row in rows] for name in FLAT}


def _is_nested(dataset: Dataset) -> bool:
    articles = dataset.features.get("data", dataset.features)
    article = articles.feature if isinstance(articles, LISTS) else articles
    return isinstance(article, dict) and "paragraphs" in article


def _questions(dataset: Dataset) -> Iterator[dict[str, Any]]:
    for row in dataset:
        for article in row.get("data") or [row]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield {
                        QUESTION: question["question"],
                        CONTEXT: paragraph["context"],
                        ANSWERS: as_columns([] if question.get("is_impossible") else question.get("answers")),
                    }


def with_answers(dataset: Dataset, label: str) -> Dataset:
    """Return rows with answers in the form of SQuAD, which may be written as text, or in columns of their own.

    Args:
        dataset: one row a question.
        label: what the column of the answers is called.
    """
    if label in dataset.column_names:
        return with_written_values(dataset, label) if is_text(dataset.features[label]) else dataset
    names, start = ALONE
    text = next((name for name in names if name in dataset.column_names), None)
    if text is None or start not in dataset.column_names:
        return dataset
    return with_columns(
        dataset, {label: ANSWER_TYPE}, [text, start], partial(_joined, label, text, start), "Reading the answers"
    )


def _joined(label: str, text: str, start: str, part: Part) -> Columns:
    """Return the answer of each row, of its text and where it starts; null where it has neither."""
    rows = zip(part.rows[text][:], part.rows[start][:], strict=True)
    answers = [
        None if own is None and (place is None or place != place) else {"text": own, "answer_start": place}
        for own, place in rows
    ]
    return {label: list(map(as_columns, answers))}


def no_answer(columns: Columns) -> bool:
    """Whether answers, as columns, say that the context does not answer the question."""
    places = columns["answer_start"]
    return not columns["text"] or (bool(places) and all(place == NOWHERE for place in places))


def is_answers(feature: Any) -> bool:
    """Whether a column holds answers, in a form that `as_columns` reads, or nothing."""
    parts = feature.feature if isinstance(feature, LISTS) else feature
    return is_empty(feature) or (isinstance(parts, dict) and parts.keys() >= ANSWER_TYPE.keys())


def as_columns(answers: Any) -> Columns | None:
    """Return answers as `{"text": [...], "answer_start": [...]}`, also from one answer or a list of answers.

    Raises:
        DistillationError: a text is not a string, or a start is not a whole number.
    """
    if answers is None:
        return None
    if isinstance(answers, list):
        columns = {name: [answer[name] for answer in answers] for name in ANSWER_TYPE}
    else:
        columns = {name: _as_list(answers[name]) for name in ANSWER_TYPE}
    starts = columns["answer_start"]
    are_whole = all(start is None or (isinstance(start, int | float) and start % 1 == 0) for start in starts)
    if not all(isinstance(text, str | None) for text in columns["text"]) or not are_whole:
        raise DistillationError(
            f"an answer must be a text, and its answer_start a whole number, but the answers are {answers}. Convert "
            "them, as in {'text': ['film'], 'answer_start': [4]}."
        )
    return {**columns, "answer_start": [None if start is None else int(start) for start in starts]}


def _as_list(value: Any) -> list[Any]:
    """Return one text or start as a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
