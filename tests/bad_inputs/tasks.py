"""Each of the seven tasks with rows of another, and with rows of its own that are wrong."""

from collections.abc import Mapping
from typing import Any

from tests.bad_inputs.case import TOPICS, Case, lines, read, refused

Row = dict[str, Any]
MODELS = {
    "single_label_classification": "single",
    "multi_label_classification": "multi",
    "regression": "regression",
    "token_classification": "tokens",
    "question_answering": "questions",
    "multiple_choice": "choices",
    "masked_lm": "masked",
}


def answer(text: str = "film", start: int = 4) -> Row:
    return {"text": [text], "answer_start": [start]}


def good(task: str, index: int) -> Row:
    """A row of a task as it must be."""
    text = f"the film {index}"
    return {
        "single_label_classification": {"text": text, "label": TOPICS[index % 3]},
        "multi_label_classification": {"text": text, "labels": [TOPICS[index % 3]]},
        "regression": {"text": text, "label": index / 7},
        "token_classification": {"tokens": text.split(), "tags": ["O", "THING", "O"]},
        "question_answering": {"question": f"what is {index}", "context": text, "answers": answer()},
        "multiple_choice": {"text": text, "choices": ["a match", "a bank"], "label": index % 2},
        "masked_lm": {"text": text},
    }[task]


def with_rows(
    name: str, task: str, rows: list[Row], message: str, keys: Mapping[str, Any] | None = None, read_rows: int = 0
) -> Case:
    """Rows of a task that are refused, or read as so many."""
    own = {"task": task, "teacher.model": f"@{MODELS[task]}", "data.source": "data.jsonl", **(keys or {})}
    if read_rows:
        return read(name, read_rows, own, files={"data.jsonl": lines(*rows)}, message=message)
    return refused(name, message, own, files={"data.jsonl": lines(*rows)})


def one_of(name: str, task: str, row: Row, message: str, **keys: Any) -> Case:
    """24 rows, of which number 5 is wrong."""
    rows = [row if index == 5 else good(task, index) for index in range(24)]
    own = {key.replace("__", "."): value for key, value in keys.items()}
    return with_rows(f"{task}: {name}", task, rows, message, own)


# What a task says to the rows of another; a task whose rows it could read is left out.
FOREIGN = {
    "single_label_classification": {
        "multi_label_classification": "label",
        "regression": r"label.*0\.",
        "token_classification": "text column",
        "question_answering": "text column",
    },
    "multi_label_classification": {
        "regression": "list of labels",
        "token_classification": "text column|label",
        "question_answering": "text column",
        "multiple_choice": "list of labels",
    },
    "regression": {
        "single_label_classification": "finite numbers.*'film'",
        "multi_label_classification": "label",
        "token_classification": "text column",
        "question_answering": "text column",
    },
    "token_classification": {
        "single_label_classification": "list of tags",
        "multi_label_classification": "word needs one tag|labels",
        "regression": "list of tags",
        "question_answering": "text column|tags",
        "multiple_choice": "list of tags",
    },
    "question_answering": {
        "single_label_classification": "question|answers",
        "multi_label_classification": "question|answers",
        "regression": "question|answers",
        "token_classification": "question|answers",
        "multiple_choice": "question|answers",
        "masked_lm": "question|answers",
    },
    "multiple_choice": {
        "single_label_classification": "choices",
        "multi_label_classification": "choices|label",
        "regression": "choices",
        "token_classification": "choices|text column|label",
        "question_answering": "choices",
        "masked_lm": "choices",
    },
    "masked_lm": {
        "token_classification": "text column",
        "question_answering": "text column",
    },
}
HEADS = "no trained head|is a model for"
MULTI, TOKENS, QUESTIONS, CHOICES = (
    "multi_label_classification",
    "token_classification",
    "question_answering",
    "multiple_choice",
)
CASES = [
    *(
        with_rows(f"{task}: rows of {other}", task, [good(other, index) for index in range(24)], message)
        for task, others in FOREIGN.items()
        for other, message in others.items()
    ),
    *(
        refused(f"{task}: a teacher of {other}", HEADS, {"task": task, "teacher.model": f"@{MODELS[other]}"})
        for task, other in zip(MODELS, [*list(MODELS)[3:], *list(MODELS)[:3]], strict=True)
    ),
    *(
        with_rows(
            f"{task}: rows without a column of labels",
            task,
            rows,
            "no row has a label",
            {"data.stride": 8} if task == QUESTIONS else {},
            read_rows=24,
        )
        for task in MODELS
        if task != "masked_lm"
        for rows in [
            [
                {k: v for k, v in good(task, i).items() if k not in ("label", "labels", "tags", "answers")}
                for i in range(24)
            ]
        ]
    ),
    # ---- Words ----
    one_of("a tag too few", TOKENS, {"tokens": ["a", "film"], "tags": ["O"]}, "row 5.*2 words.*1 tags"),
    one_of("a tag too many", TOKENS, {"tokens": ["a"], "tags": ["O", "O"]}, "row 5.*1 words.*2 tags"),
    one_of("an unknown tag", TOKENS, {"tokens": ["a"], "tags": ["MONEY"]}, "MONEY"),
    one_of("a word that is a number", TOKENS, {"tokens": ["a", 3], "tags": ["O", "O"]}, "row 5|tokens"),
    one_of("a tag that is a number", TOKENS, {"tokens": ["a"], "tags": [3]}, "row 5|tags"),
    one_of("text for tags", TOKENS, {"tokens": ["a"], "tags": "O"}, "row 5|tags"),
    one_of("tags in a list of lists", TOKENS, {"tokens": ["a"], "tags": [["O"]]}, "row 5|tags"),
    # ---- Questions ----
    one_of(
        "an answer elsewhere",
        QUESTIONS,
        {"question": "q", "context": "the film", "answers": answer(start=3)},
        "answer|start",
    ),
    one_of(
        "an answer not there", QUESTIONS, {"question": "q", "context": "the film", "answers": answer("bank")}, "bank"
    ),
    one_of(
        "a negative start",
        QUESTIONS,
        {"question": "q", "context": "the film", "answers": answer(start=-5)},
        "start|-5",
    ),
    one_of(
        "a start beyond the end",
        QUESTIONS,
        {"question": "q", "context": "the film", "answers": answer(start=99)},
        "start|99",
    ),
    one_of(
        "an answer without start",
        QUESTIONS,
        {"question": "q", "context": "the film", "answers": {"text": ["film"], "answer_start": []}},
        "start",
    ),
    one_of(
        "an answer as text", QUESTIONS, {"question": "q", "context": "the film", "answers": "film"}, "row 5|answers"
    ),
    one_of(
        "a question of 60 words",
        QUESTIONS,
        {"question": "what " * 60, "context": "the film", "answers": answer()},
        "question|room|max_length",
    ),
    one_of(
        "one column", QUESTIONS, good(QUESTIONS, 5), "two columns, question and context", data__text_columns="[context]"
    ),
    one_of("windows that share everything", QUESTIONS, good(QUESTIONS, 5), "stride", data__stride=40),
    # ---- Choices ----
    one_of(
        "one choice",
        CHOICES,
        {"text": "a film", "choices": ["a"], "label": 0},
        "row 5.*two choices or more|two choices.*row 5",
    ),
    one_of("no choice", CHOICES, {"text": "a film", "choices": [], "label": 0}, "two choices.*row 5"),
    one_of(
        "a blank choice",
        CHOICES,
        {"text": "a film", "choices": ["a", " ", "b"], "label": 0},
        "none of them blank.*row 5",
    ),
    one_of(
        "a label too large", CHOICES, {"text": "a film", "choices": ["a", "b"], "label": 2}, "row 5.*2 choices.*says 2"
    ),
    one_of("a negative label", CHOICES, {"text": "a film", "choices": ["a", "b"], "label": -1}, "row 5.*says -1"),
    one_of("a choice that is a number", CHOICES, {"text": "a film", "choices": ["a", 3], "label": 0}, "row 5|choices"),
    one_of("a choice column that is not there", CHOICES, good(CHOICES, 5), "one", data__choice_columns="[one, two]"),
    # ---- Several labels ----
    one_of("an unknown label", MULTI, {"text": "a film", "labels": ["opera"]}, "opera"),
    one_of("a number among names", MULTI, {"text": "a film", "labels": ["film", 3]}, "row 5|labels"),
    one_of("text for a list", MULTI, {"text": "a film", "labels": "film"}, "row 5|labels"),
    one_of("null among names", MULTI, {"text": "a film", "labels": ["film", None]}, "row 5.*empty label"),
    with_rows(
        "multi_label_classification: targets of 2",
        MULTI,
        [{"text": f"the film {i}", "labels": [0.0, 2.0, 1.0]} for i in range(9)],
        "0 or 1.*row 0",
    ),
    with_rows(
        "multi_label_classification: too few targets",
        MULTI,
        [{"text": f"the film {i}", "labels": [0.0, 1.0]} for i in range(9)],
        "3 labels|each of the 3",
    ),
    with_rows(
        "multi_label_classification: an id out of range",
        MULTI,
        [{"text": f"the film {i}", "labels": [i % 5]} for i in range(9)],
        "4",
    ),
    # ---- Scores ----
    one_of("a word for a score", "regression", {"text": "a film", "label": "good"}, "row 5|label"),
    one_of("an infinite score", "regression", {"text": "a film", "label": 1e300}, "row 5.*1e\\+300"),
    one_of("a list for a score", "regression", {"text": "a film", "label": [1.0]}, "row 5|label"),
    one_of("label names", "regression", good("regression", 5), "label_names means nothing", data__label_names="[a, b]"),
    with_rows(
        "regression: true and false",
        "regression",
        [{"text": f"the film {i}", "label": i % 2 == 0} for i in range(9)],
        "bool",
    ),
    with_rows(
        "regression: NaN alone",
        "regression",
        [{"text": f"the film {i}", "label": None} for i in range(9)],
        "no row has a label",
        read_rows=9,
    ),
    with_rows(
        "rows without labels, which a teacher is to learn",
        "single_label_classification",
        [{"text": f"the film {i}"} for i in range(9)],
        "label",
        {"teacher.model": "@bare", "teacher.finetune": True},
    ),
    with_rows(
        "rows without labels, and the name of a column for them",
        "single_label_classification",
        [{"text": f"the film {i}"} for i in range(9)],
        "no split has the label column 'mood'",
        {"data.label_column": "mood"},
    ),
    with_rows(
        "labels in a column of another name",
        "single_label_classification",
        [{"text": f"the film {i}", "mood": ("good", "bad")[i % 2]} for i in range(9)],
        "'mood' looks as if it held labels.*data.label_column",
    ),
    # ---- Masked words ----
    one_of("a trimmed vocabulary", "masked_lm", good("masked_lm", 5), "vocabulary", student__trim_vocabulary=True),
    one_of("several models", "masked_lm", good("masked_lm", 5), "one model", teacher__model="[@masked, @half]"),
    one_of(
        "label names for words",
        "masked_lm",
        good("masked_lm", 5),
        "label_names means nothing",
        data__label_names="[a, b]",
    ),
    read(
        "multi_label_classification: rows of single_label_classification",
        24,
        {"task": MULTI, "teacher.model": f"@{MODELS[MULTI]}", "data.source": "data.jsonl"},
        files={"data.jsonl": lines(*(good("single_label_classification", index) for index in range(24)))},
        message="one label",
    ),
    read("masked_lm: rows of single_label_classification", 24, {"task": "masked_lm", "teacher.model": "@masked"}),
]
