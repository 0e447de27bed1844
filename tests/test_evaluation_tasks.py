"""Every task through `evaluate_models`, with tiny models: the report of each, and models with rows of their own."""

import json
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from distilnlp.errors import DistillationError
from distilnlp.evaluation import SpeedPlan, evaluate_models, measure_speed
from distilnlp.metrics import Scoring
from distilnlp.tasks import (
    CHOICE_EVALUATION,
    MASKED_LM_EVALUATION,
    MULTI_LABEL_EVALUATION,
    QUESTION_EVALUATION,
    REGRESSION_EVALUATION,
    SINGLE_LABEL_EVALUATION,
    TOKEN_EVALUATION,
)
from tests.tiny import TOPICS, tiny_model

PLAN = SpeedPlan(texts=2, batches=1, batch_size=2)
TAGS = ("O", "B-X", "I-X")
FILL = {"labels": -100}


def pad(rows):
    """Pad every column with a value a piece with 0, labels with -100."""
    length = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor([[*row[name], *[FILL.get(name, 0)] * (length - len(row[name]))] for row in rows])
        for name in rows[0]
    }


def pad_choices(rows):
    """Pad choices as rows of their own; missing ones repeat the first."""
    counts = [len(row["input_ids"]) for row in rows]
    most = max(counts)
    texts = [
        {name: value[place if place < count else 0] for name, value in row.items()}
        for row, count in zip(rows, counts, strict=True)
        for place in range(most)
    ]
    batch = {name: value.unflatten(0, (len(rows), most)) for name, value in pad(texts).items()}
    return {**batch, "choice_mask": torch.arange(most) < torch.tensor(counts)[:, None]}


def pad_masked(rows):
    """Pad rows that are masked already; others would be masked here, each time anew."""
    assert all("labels" in row for row in rows), "the evaluation lost what was masked"
    return pad(rows)


class Case(NamedTuple):
    """A task, its head and its rows."""

    task: Scoring
    head: Any
    rows: list[dict[str, Any]]
    metrics: list[str]
    fidelity: list[str]
    calibrated: bool
    labels: tuple[str, ...] = TOPICS
    collator: Any = pad


def texts(count=9, seed=0):
    """Ids between special pieces, of ragged lengths."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, 12, count)
    ids = [[2, *generator.integers(5, 24, length).tolist(), 3] for length in lengths]
    return [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids]


def token_rows(pieces=1):
    """Rows of words of one piece, or of several for a model with another tokenizer."""
    rows = []
    for index, row in enumerate(texts()):
        words = row["input_ids"][1:-1]
        ids = [2, *(piece for word in words for piece in [word] * pieces), 3]
        starts = [0, *[1, *[0] * (pieces - 1)] * len(words), 0]
        labels = [-100] * len(ids)
        for place, start in enumerate(np.flatnonzero(starts)):
            labels[start] = (place + index) % 3
        label = None if index == 0 else labels
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "word_starts": starts, "label": label})
    return rows


def question_rows(window=4):
    """Windows over contexts of six letters: one, or two that overlap."""
    rows = []
    for example in range(6):
        letters = np.random.default_rng(example).integers(6, 24, 6).tolist()
        for begin in range(0, 6 - window + 1, 2):
            ids = [2, 5, 3, *letters[begin : begin + window], 3]
            mask = [0] * 3 + [1] * window + [0]
            offsets = [[0, 0]] * 3 + [[place, place + 1] for place in range(begin, begin + window)] + [[0, 0]]
            row = {"input_ids": ids, "attention_mask": [1] * len(ids), "context_mask": mask, "offsets": offsets}
            answers = ["cd"] if example else []
            labels = {"start_positions": 1, "end_positions": 1}
            rows.append({**row, **labels, "example": example, "context": "abcdef", "answers": answers})
    return rows


def choice_rows():
    rows = texts(12)
    groups = [rows[0:2], rows[2:5], rows[5:7], rows[7:11]]
    names = ("input_ids", "attention_mask")
    labels = [1, None, 0, 3]
    return [
        {**{name: [choice[name] for choice in group] for name in names}, "label": label}
        for group, label in zip(groups, labels, strict=True)
    ]


def masked_rows():
    rows = []
    for row in texts():
        labels = [-100] * len(row["input_ids"])
        labels[2] = row["input_ids"][2]
        ids = [4 if place == 2 else piece for place, piece in enumerate(row["input_ids"])]
        rows.append({**row, "input_ids": ids, "labels": labels})
    return rows


def labelled(labels):
    return [{**row, "label": labels[index % len(labels)]} for index, row in enumerate(texts())]


SEQUENCES, BOTH = AutoModelForSequenceClassification, ["agreement", "kl"]
SPANS = ["entity_f1", "entity_precision", "entity_recall", "accuracy"]
CASES = {
    "single": Case(
        SINGLE_LABEL_EVALUATION, SEQUENCES, labelled([0, 2, None, 1]), ["accuracy", "macro_f1", "mcc"], BOTH, True
    ),
    "multi": Case(
        MULTI_LABEL_EVALUATION,
        SEQUENCES,
        labelled([[1, 0, 1], [0, None, 1.0], None]),
        ["micro_f1", "macro_f1", "map"],
        BOTH,
        True,
    ),
    "regression": Case(
        REGRESSION_EVALUATION,
        SEQUENCES,
        labelled([0.5, 3.0, None, -1.0]),
        ["pearson", "spearman"],
        ["correlation", "absolute_difference"],
        False,
        ("score",),
    ),
    "token": Case(TOKEN_EVALUATION, AutoModelForTokenClassification, token_rows(), SPANS, BOTH, True, TAGS),
    "question": Case(
        QUESTION_EVALUATION,
        AutoModelForQuestionAnswering,
        question_rows(),
        ["f1", "exact_match"],
        ["agreement"],
        False,
        ("start", "end"),
    ),
    "choice": Case(
        CHOICE_EVALUATION,
        AutoModelForMultipleChoice,
        choice_rows(),
        ["accuracy"],
        BOTH,
        True,
        ("one",),
        pad_choices,
    ),
    "masked": Case(
        MASKED_LM_EVALUATION,
        AutoModelForMaskedLM,
        masked_rows(),
        ["perplexity", "accuracy"],
        ["agreement"],
        False,
        TOPICS,
        pad_masked,
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def model_of(case, family="bert", seed=0):
    """A tiny model of the case's head, whose logits differ between rows."""
    config = tiny_model(family, labels=case.labels).config
    torch.manual_seed(seed)
    model = case.head.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def flat(predictions):
    """All figures of some predictions; texts as they are."""
    if isinstance(predictions, list) and isinstance(predictions[0], str):
        return predictions
    rows = predictions if isinstance(predictions, list) else [predictions]
    return np.concatenate([np.ravel(part) for row in rows for part in (row if isinstance(row, tuple) else (row,))])


def test_report_has_the_measures_of_the_task(case):
    models = {"teacher": model_of(case), "student": model_of(case, "distilbert", seed=1)}
    options = {"reference": "teacher", "batch_size": 4, "speed_plan": PLAN}
    found = evaluate_models(models, case.rows, case.collator, task=case.task, **options)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    student = found["student"]
    assert list(student["metrics"]) == case.metrics
    assert list(student["fidelity"]) == case.fidelity
    assert (student["calibration_error"] is not None) == case.calibrated
    assert all(figures["low"] <= figures["value"] <= figures["high"] for figures in student["metrics"].values())
    assert student["speed"]["throughput_per_second"] > 0
    labels = case.task.read_labels(case.rows, models["teacher"].config)
    predictions = case.task.predict(models["student"], case.rows, case.collator, 4, "the student")
    values = {name: figures["value"] for name, figures in student["metrics"].items()}
    assert values == pytest.approx(case.task.scores(predictions, labels).values())


def test_predictions_in_batches_equal_those_one_by_one(case):
    model = model_of(case)
    in_batches, alone = (flat(case.task.predict(model, case.rows, case.collator, size, "it")) for size in (4, 1))
    if isinstance(alone, list):
        assert in_batches == alone
        assert len(set(alone)) > 1
    else:
        np.testing.assert_allclose(in_batches, alone, atol=1e-5)
        assert np.std(alone[np.isfinite(alone)]) > 1e-3


def test_long_rows_come_first(case):
    model, lengths = model_of(case), []
    model.register_forward_hook(
        lambda _, __, inputs, ___: lengths.append(inputs["input_ids"].shape[-1]), with_kwargs=True
    )
    case.task.predict(model, case.rows[::-1], case.collator, 1, "it")
    assert lengths == sorted(lengths, reverse=True)
    if case.task is not QUESTION_EVALUATION:  # whose windows have one length here
        assert len(set(lengths)) > 1


def test_a_model_agrees_with_itself(case):
    twins = {"teacher": model_of(case), "twin": model_of(case)}
    found = evaluate_models(twins, case.rows, case.collator, task=case.task, reference="teacher", speed_plan=None)
    perfect = {"agreement": 1, "kl": 0, "correlation": 1, "absolute_difference": 0}
    assert found["twin"]["fidelity"] == pytest.approx({name: perfect[name] for name in case.fidelity}, abs=1e-6)
    assert found["twin"]["metrics"] == found["teacher"]["metrics"]


def test_logits_that_are_not_finite_name_their_model(case):
    models = {"teacher": model_of(case), "student": model_of(case, seed=1)}
    with torch.no_grad():
        models["student"].base_model.embeddings.word_embeddings.weight.fill_(torch.nan)
    with pytest.raises(DistillationError, match="the model 'student' gave NaN"):
        evaluate_models(models, case.rows, case.collator, task=case.task, speed_plan=None)


def test_rows_without_any_label_are_an_error(case):
    empty = {"label": None, "answers": [], "labels": None}
    rows = [{**row, **{name: value for name, value in empty.items() if name in row}} for row in case.rows]
    if "labels" in rows[0]:
        rows = [{**row, "labels": [-100] * len(row["input_ids"])} for row in rows]
    with pytest.raises(DistillationError, match="has a label"):
        evaluate_models({"a": model_of(case)}, rows, case.collator, task=case.task, speed_plan=None)


# Rows of each model's own


def test_equal_rows_of_each_model_give_the_report_of_shared_ones(case):
    models = {"teacher": model_of(case), "student": model_of(case, seed=1)}
    copies = {name: [dict(row) for row in case.rows] for name in models}
    found, expected = (
        evaluate_models(models, rows, case.collator, task=case.task, reference="teacher", speed_plan=None)
        for rows in (copies, case.rows)
    )
    assert found == expected


@pytest.mark.parametrize(
    ("name", "other_rows"), [("token", token_rows(pieces=3)), ("question", question_rows(window=6))]
)
def test_models_with_other_tokenizers_are_compared_on_the_same_words_and_questions(name, other_rows):
    case = CASES[name]
    models = {"teacher": model_of(case), "student": model_of(case, seed=1)}
    rows = {"student": other_rows, "teacher": case.rows}
    collators = {"teacher": case.collator, "student": lambda rows: case.collator(rows)}
    found = evaluate_models(models, rows, collators, task=case.task, reference="teacher", speed_plan=PLAN)
    alone = {model: evaluate_models({model: models[model]}, rows[model], pad, task=case.task) for model in models}
    assert all(found[model]["metrics"] == alone[model][model]["metrics"] for model in models)
    predictions = [case.task.predict(models[model], rows[model], pad, 4, model) for model in ("student", "teacher")]
    assert found["student"]["fidelity"]["agreement"] == case.task.fidelity["agreement"](*predictions)


def test_speed_is_measured_on_the_rows_of_each_model(monkeypatch):
    case, seen = CASES["token"], {"one": [], "three": []}
    models = {name: model_of(case) for name in seen}
    for name, model in models.items():
        model.register_forward_hook(lambda _, __, inputs, ___, name=name: seen[name].append(inputs), with_kwargs=True)
    rows = {"one": case.rows, "three": token_rows(pieces=3)}
    measure_speed(models, rows, {"one": pad, "three": pad}, PLAN, columns=case.task.columns)
    shapes = {name: [batch["input_ids"].shape for batch in batches[::2]] for name, batches in seen.items()}
    lengths = {name: [len(own[index]["input_ids"]) for index in (0, 4)] for name, own in rows.items()}
    assert {name: [shape[1] for shape in found[:2]] for name, found in shapes.items()} == lengths
    assert "word_starts" not in seen["one"][0]


def test_rows_of_other_labels_are_an_error():
    case = CASES["token"]
    cut = [{**row, "word_starts": [*row["word_starts"][:-2], 0, 0]} for row in case.rows]
    models = {"teacher": model_of(case), "student": model_of(case)}
    with pytest.raises(DistillationError, match="those of 'student' differ from those of 'teacher'"):
        evaluate_models(models, {"teacher": case.rows, "student": cut}, pad, task=case.task)


def test_every_model_needs_rows_and_a_collator():
    case = CASES["single"]
    models = {"teacher": model_of(case), "student": model_of(case)}
    with pytest.raises(DistillationError, match=r"rows for each model.* none for 'student'\. Did you mean 'studnt'"):
        evaluate_models(models, {"teacher": case.rows, "studnt": case.rows}, pad)
    with pytest.raises(DistillationError, match=r"a collator for each model.* none for 'teacher'"):
        evaluate_models(models, case.rows, {"student": pad})
    with pytest.raises(DistillationError, match="expected rows to evaluate 'student' on"):
        evaluate_models(models, {"teacher": case.rows, "student": []}, pad)
