"""Teachers that are several models, columns of answers, or read more than their student."""

from typing import Any

from tests.bad_inputs.case import TOPICS, Case, lines, refused, table

ONE = {"teacher.model": None, "teacher.column": "answer", "student.model": "@bare", "data.source": "answers.jsonl"}


def ensemble(name: str, message: str, models: str, **keys: Any) -> Case:
    own = {f"teacher.{key}": value for key, value in keys.items()}
    return refused(f"ensemble: {name}", message, {"teacher.model": models, **own})


def answers(name: str, message: str, answer: Any, row: int = 7, **keys: Any) -> Case:
    """One row of 24 has this answer; the others have a good one."""
    good = {"top_k": {"film": 0.5, "money": 0.5}}.get(keys.get("form", ""), [0.5, 0.25, 0.25])
    rows = [
        {"text": f"the film {index}", "label": TOPICS[index % 3], "answer": answer if index == row else good}
        for index in range(24)
    ]
    own = {f"teacher.{key}": value for key, value in keys.items()}
    return refused(f"answers: {name}", message, {**ONE, **own}, files={"answers.jsonl": lines(*rows)})


def privileged(name: str, message: str, **keys: Any) -> Case:
    own = {f"teacher.{key}": value for key, value in keys.items()}
    return refused(f"privileged: {name}", message, own)


def folds(name: str, message: str, count: int, content: str = "") -> Case:
    keys = {"teacher.model": "@bare", "teacher.finetune": True, "teacher.folds": count}
    return refused(f"folds: {name}", message, keys, files={"train.csv": content or table()})


CASES = [
    ensemble("one model twice", "different", "[@teacher, @teacher]"),
    ensemble("no model", "one name, or a list", "[]"),
    ensemble("a number among them", "one name, or a list", "[@teacher, 3]"),
    ensemble("one that is not there", "cannot load the model './nowhere'", "[@teacher, ./nowhere]"),
    ensemble("other labels", "arts", "[@teacher, @five]"),
    ensemble("other labels of the same number", r"teacher\.model\[1\].*ENTAILMENT", "[@teacher, @nli]"),
    ensemble("placeholders", "placeholders", "[@teacher, @placeholders]"),
    ensemble("a bare encoder", "bare.* no trained head", "[@teacher, @bare]"),
    ensemble("a model of another task", "tokens.* no trained head", "[@teacher, @tokens]"),
    ensemble("one without tokenizer", "tokenizer", "[@teacher, @no_tokenizer]"),
    ensemble("one with NaN", "nan.*(NaN|finite)", "[@teacher, @nan]"),
    ensemble("too few weights", "weights", "[@teacher, @reversed]", weights="[1]"),
    ensemble("a negative weight", "weights", "[@teacher, @reversed]", weights="[1, -1]"),
    ensemble("weights of zero", "weights", "[@teacher, @reversed]", weights="[0, 0]"),
    ensemble("a weight of NaN", "weights", "[@teacher, @reversed]", weights="[1, .nan]"),
    ensemble("a weight of infinity", "weights", "[@teacher, @reversed]", weights="[1, .inf]"),
    ensemble("weights in words", "weights", "[@teacher, @reversed]", weights="[one, two]"),
    ensemble("an unknown mean", "average", "[@teacher, @reversed]", average="votes"),
    ensemble("folds of several", "folds", "[@teacher, @reversed]", finetune=True, folds=2),
    folds("more than rows", "fold", 50),
    folds("one", "folds", 1),
    folds("none", "folds", 0),
    folds("more than the rows of a class", "fold|class", 20, table(30, labels=["film"] * 28 + ["money"] * 2)),
    refused(
        "answers: no such column", "Did you mean 'label'", {**ONE, "teacher.column": "labl", "data.source": "train.csv"}
    ),
    refused("answers: the label column", "label", {**ONE, "teacher.column": "label", "data.source": "train.csv"}),
    refused("answers: the text column", "text", {**ONE, "teacher.column": "text", "data.source": "train.csv"}),
    refused("answers: a model beside them", "one of the two", {**ONE, "teacher.model": "@teacher"}),
    refused("answers: no student", "student.model is required", {**ONE, "student.model": None}),
    refused("answers: to be fine-tuned", "finetune", {**ONE, "teacher.finetune": True}),
    answers("a null", "row 7|null", None),
    answers("too few numbers", "(row|7).*2 values", [0.5, 0.5]),
    answers("too many numbers", "(row|7).*4 values", [0.25] * 4),
    answers("none", "(row|7).*0 values", []),
    answers("that do not add up", "row 7.*adds up to", [0.5, 0.5, 0.5]),
    answers("negative", "row 7.*not a probability", [-0.5, 1.0, 0.5]),
    answers("above one", "row 7.*not a probability", [1.5, -0.25, -0.25]),
    answers("percentages", "row 7.*not a probability", [50.0, 25.0, 25.0]),
    answers("a null among the numbers", "row 7.*null", [0.5, None, 0.5]),
    answers("an unknown form", "form", [0.5, 0.25, 0.25], form="softmax"),
    answers("logarithms above zero", "log-probability above zero", [1.0, 2.0, 3.0], form="log_probabilities"),
    answers("an unknown label", "label.*opera", {"opera": 1.0}, form="top_k"),
    answers("more than one in all", "more than one", {"film": 0.9, "money": 0.9}, form="top_k"),
    answers("lists where names are meant", "label|answer|column", [0.5, 0.25, 0.25], form="top_k"),
    answers("text", "row 7|types|answer", "film"),
    privileged("no such column", "Did you mean 'text'", text_columns="[txt]"),
    privileged("the label", "would read the answer", text_columns="[text, label]"),
    privileged("longer than it reads", "at most 40", max_length=500),
    privileged("too short", "must leave room", max_length=3),
]
