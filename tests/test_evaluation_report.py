"""Predictions, speed, size and the report of several models side by side."""

import json
import math
import tracemalloc
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from distilnlp.errors import DistillationError
from distilnlp.evaluation import SpeedPlan, evaluate_models, latency, measure_size, measure_speed, verdict
from distilnlp.metrics import agreement, expected_calibration_error, mean_kl, predict_logits
from distilnlp.models import running
from tests.conftest import as_examples
from tests.naive_metrics import naive_metrics
from tests.tiny import TOPICS, tiny_model, tiny_rows

SMALL_PLAN = SpeedPlan(texts=3, batches=2, batch_size=4, warmup=1)


# Prediction


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_predictions_in_batches_equal_those_one_by_one(family, examples, collator):
    model = tiny_model(family)
    found = predict_logits(model, examples, collator, batch_size=5)
    for row, example in zip(found, examples, strict=True):
        with torch.no_grad():
            inputs = {"input_ids": example["input_ids"], "attention_mask": example["attention_mask"]}
            alone = model(**{name: torch.tensor([ids]) for name, ids in inputs.items()}).logits[0]
        np.testing.assert_allclose(row, alone.numpy(), atol=1e-5)
    assert found.dtype == np.float32


def test_predictions_have_no_dropout_and_give_every_mode_back(examples, collator):
    model = tiny_model().train()
    model.bert.embeddings.eval()
    before = [module.training for module in model.modules()]
    first = predict_logits(model, examples, collator)
    np.testing.assert_array_equal(first, predict_logits(model, examples, collator))
    assert [module.training for module in model.modules()] == before


def test_predictions_of_a_half_precision_model_come_in_float32(examples, collator):
    assert predict_logits(tiny_model().bfloat16(), examples, collator).dtype == np.float32


def test_logits_of_many_classes_are_held_once():
    classes = 20_000
    weights = torch.zeros(classes)

    class Wide(FakeModel):
        def forward(self, input_ids):
            return SimpleNamespace(logits=weights + input_ids[:, :1])

    rows = [{"input_ids": [index, 1]} for index in range(96)]
    tracemalloc.start()
    try:
        found = predict_logits(
            Wide("wide", []), rows, lambda own: {"input_ids": torch.tensor([row["input_ids"] for row in own])}, 8
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found[:, 0], range(96))
    assert peak < 1.5 * found.nbytes


def test_predicting_no_rows_is_an_error(collator):
    with pytest.raises(DistillationError, match="expected rows to predict"):
        predict_logits(tiny_model(), [], collator)


# Speed


class FakeModel(nn.Module):
    """Records its calls, and lets a fake clock advance."""

    def __init__(self, name, calls, clock=None, seconds=0.0):
        super().__init__()
        self.name, self.calls, self.clock, self.seconds = name, calls, clock, seconds
        self.device = torch.device("cpu")

    def forward(self, input_ids):
        self.calls.append((self.name, tuple(input_ids.shape)))
        if self.clock is not None:
            self.clock.now += self.seconds * len(input_ids)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    for module in (latency, running):  # the deadline, and each pass
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def test_models_take_turns_on_texts_of_their_real_length(examples, collator):
    calls = []
    models = {name: FakeModel(name, calls) for name in ("teacher", "student")}
    measure_speed(models, examples, collator, SMALL_PLAN)
    warm_then_timed = [name for name in models for _ in range(2)]
    assert [name for name, _ in calls] == warm_then_timed * (SMALL_PLAN.texts + SMALL_PLAN.batches)
    timed = [shape for name, shape in calls if name == "student"][1::2]
    assert timed[:3] == [(1, len(examples[index]["input_ids"])) for index in (0, 8, 16)]
    assert [shape[0] for shape in timed[3:]] == [4, 4]


def test_speed_is_computed_from_the_seconds_of_each_model(examples, collator, clock):
    models = {"slow": FakeModel("slow", [], clock, 0.04), "fast": FakeModel("fast", [], clock, 0.01)}
    found = measure_speed(models, examples, collator, SMALL_PLAN)
    assert (found["slow"].latency_ms_median, found["slow"].latency_ms_p95) == pytest.approx((40, 40))
    assert found["fast"].latency_ms_median == pytest.approx(10)
    assert found["fast"].throughput_per_second == pytest.approx(100)
    assert found["fast"].batch_size == SMALL_PLAN.batch_size


def test_speed_stops_after_the_turn_that_uses_up_its_time(examples, collator, clock):
    calls = []
    models = {name: FakeModel(name, calls, clock, 1.0) for name in ("a", "b")}
    measure_speed(models, examples, collator, SpeedPlan(texts=20, batches=20, batch_size=2, warmup=0, max_seconds=8))
    assert [shape[0] for name, shape in calls if name == "a"] == [1] * 5 + [2] * 3
    assert len(calls) == 2 * (5 + 3)


def test_few_examples_are_timed_again(examples, collator):
    calls = []
    measure_speed({"a": FakeModel("a", calls)}, examples[:2], collator, SMALL_PLAN)
    assert [shape[0] for _, shape in calls[::2]] == [1, 1, 1, 4, 4]


def test_an_accelerator_is_idle_when_the_clock_starts_and_stops(monkeypatch):
    events = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: events.append("wait"))
    model = FakeModel("forward", events)
    model.device = torch.device("cuda")
    latency._seconds_of(model, {"input_ids": torch.zeros(1, 2)}, warmup=1)
    assert events == [("forward", (1, 2)), "wait", ("forward", (1, 2)), "wait"]


@pytest.mark.parametrize("plan", [SpeedPlan(texts=0), SpeedPlan(batches=0), SpeedPlan(batch_size=0)])
def test_a_plan_that_times_nothing_is_an_error(plan, examples, collator):
    with pytest.raises(DistillationError, match="expected rows to time"):
        measure_speed({"a": tiny_model()}, examples, collator, plan)


# Size


def test_parameters_are_split_into_embeddings_and_the_rest():
    model = tiny_model()
    size = measure_size(model)
    tables = model.bert.embeddings
    expected = sum(t.weight.numel() for t in (tables.word_embeddings, tables.position_embeddings))
    assert size.embedding_parameters == expected + tables.token_type_embeddings.weight.numel()
    assert size.parameters == size.embedding_parameters + size.other_parameters
    assert size.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_bytes_are_those_of_the_loaded_files(tmp_path):
    in_memory = tiny_model()
    in_memory.save_pretrained(tmp_path)
    on_disk = (tmp_path / "model.safetensors").stat().st_size
    assert measure_size(AutoModelForSequenceClassification.from_pretrained(tmp_path)).bytes == on_disk
    assert on_disk - 20_000 < measure_size(in_memory).bytes < on_disk


def test_bytes_of_a_student_are_not_those_of_its_teachers_folder(tmp_path, monkeypatch):
    tiny_model().save_pretrained(tmp_path)
    teacher = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    config = type(teacher.config)(**{**teacher.config.to_dict(), "num_hidden_layers": 2})
    config._name_or_path = str(tmp_path)
    student = type(teacher)(config)
    assert measure_size(student).bytes == 4 * measure_size(student).parameters
    monkeypatch.chdir(tmp_path)  # a model without a folder is not that of the working folder
    assert measure_size(tiny_model()).bytes == 4 * measure_size(tiny_model()).parameters


def test_shared_weights_count_once():
    model = tiny_model()
    separate = measure_size(model)
    layers = model.bert.encoder.layer
    layers[1] = layers[0]
    layer = sum(parameter.numel() for parameter in layers[0].parameters())
    shared = measure_size(model)
    assert separate.parameters - shared.parameters == layer
    assert separate.bytes - shared.bytes == 4 * layer


# Report


def reordered(model, order):
    """The same model with its classes in another order."""
    twin = tiny_model(labels=tuple(TOPICS[index] for index in order))
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        twin.classifier.weight.copy_(model.classifier.weight[list(order)])
        twin.classifier.bias.copy_(model.classifier.bias[list(order)])
    return twin


def test_report_is_json_and_holds_what_was_measured(examples, collator):
    models = {"teacher": tiny_model(), "student": tiny_model(seed=1, num_hidden_layers=2)}
    results = evaluate_models(models, examples, collator, reference="teacher", speed_plan=SMALL_PLAN)
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    logits = {name: predict_logits(model, examples, collator) for name, model in models.items()}
    labels = [example["label"] for example in examples]
    student = results["student"]
    expected = naive_metrics(logits["student"].argmax(-1).tolist(), labels)
    assert {name: metric["value"] for name, metric in student["metrics"].items()} == pytest.approx(expected)
    assert student["fidelity"] == {
        "agreement": agreement(logits["student"], logits["teacher"]),
        "kl": mean_kl(logits["student"], logits["teacher"]),
    }
    probabilities = torch.tensor(logits["student"]).double().softmax(-1).numpy()
    assert student["calibration_error"] == pytest.approx(expected_calibration_error(probabilities, labels))
    assert student["parameters"]["total"] == models["student"].num_parameters()
    assert all(value > 0 for value in student["speed"].values())
    assert results["teacher"]["fidelity"] is None


def test_unlabelled_rows_count_for_fidelity_only(collator):
    models = {"teacher": tiny_model(), "student": tiny_model(seed=1)}
    run = partial(evaluate_models, models, collator=collator, reference="teacher", speed_plan=None)
    mixed = as_examples(tiny_rows(6, unlabelled=12))
    assert run(mixed)["student"]["metrics"] == run(mixed[:6])["student"]["metrics"]
    logits = [predict_logits(model, mixed, collator) for model in models.values()]
    assert run(mixed)["student"]["fidelity"]["kl"] == pytest.approx(mean_kl(logits[1], logits[0]))


def test_models_with_another_label_order_are_compared_by_name(examples, collator):
    teacher = tiny_model()
    models = {"teacher": teacher, "twin": reordered(teacher, (2, 0, 1))}
    results = evaluate_models(models, examples, collator, reference="teacher", speed_plan=None)
    assert results["twin"]["metrics"] == results["teacher"]["metrics"]
    assert results["twin"]["fidelity"]["agreement"] == 1
    assert results["twin"]["fidelity"]["kl"] == pytest.approx(0, abs=1e-6)


def test_placeholder_names_are_taken_to_be_in_order(examples, collator):
    models = {"named": tiny_model(), "unnamed": tiny_model(labels=("LABEL_0", "LABEL_1", "LABEL_2"))}
    results = evaluate_models(models, examples, collator, reference="named", speed_plan=None)
    assert results["unnamed"]["fidelity"]["agreement"] == 1


@pytest.mark.parametrize("labels", [("film", "money", "music"), ("film", "money"), ("LABEL_0", "LABEL_1")])
def test_models_with_other_labels_are_an_error(labels, examples, collator):
    with pytest.raises(DistillationError, match="same labels"):
        evaluate_models({"a": tiny_model(), "b": tiny_model(labels=labels)}, examples, collator, speed_plan=None)


def test_report_names_the_model_whose_logits_are_nan(examples, collator):
    broken = tiny_model()
    broken.classifier.bias.data[0] = math.nan
    with pytest.raises(DistillationError, match="the model 'student' gave NaN"):
        evaluate_models({"teacher": tiny_model(), "student": broken}, examples, collator, speed_plan=None)


@pytest.mark.parametrize(
    ("label", "message"), [(None, "none of the 4 rows has a label"), (-100, "none of the 4"), (7, r"hold \[7\]")]
)
def test_report_needs_labels_of_the_models_classes(label, message, examples, collator):
    rows = [{**example, "label": label} for example in examples[:4]]
    with pytest.raises(DistillationError, match=message):
        evaluate_models({"a": tiny_model()}, rows, collator, speed_plan=None)


def test_report_needs_models_and_a_known_reference(examples, collator):
    with pytest.raises(DistillationError, match="at least one model"):
        evaluate_models({}, examples, collator)
    with pytest.raises(DistillationError, match="Did you mean 'teacher'"):
        evaluate_models({"teacher": tiny_model()}, examples, collator, reference="teachr")


def test_evaluation_leaves_no_files(tmp_path, monkeypatch, examples, collator):
    monkeypatch.chdir(tmp_path)
    evaluate_models({"student": tiny_model()}, examples, collator, speed_plan=SMALL_PLAN)
    assert list(tmp_path.iterdir()) == []


def test_classes_without_a_test_row_are_said_once(caplog, examples, collator):
    rows = [{**example, "label": 0} for example in examples[:6]]
    models = {"teacher": tiny_model(), "student": tiny_model(seed=1)}
    evaluate_models(models, rows, collator, speed_plan=None)
    said = [record.getMessage() for record in caplog.records if "no example" in record.getMessage()]
    assert len(said) == 1
    assert f"no example of 2 of 3 classes ({', '.join(TOPICS[1:])})" in said[0]
    caplog.clear()
    evaluate_models(models, examples, collator, speed_plan=None)
    assert "no example" not in caplog.text


def test_undefined_figures_are_null_and_the_log_says_why(caplog, examples, collator):
    rows = [{**example, "label": 0} for example in examples[:6]]
    found = evaluate_models({"student": tiny_model()}, rows, collator, speed_plan=None)
    assert found["student"]["metrics"]["mcc"] == {"value": None, "low": None, "high": None}
    assert "mcc of 'student' is undefined (n/a): all rows have one class" in caplog.text
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("rows", [1, 2])
def test_very_few_rows_give_a_report(rows, examples, collator):
    models = {"teacher": tiny_model(), "student": tiny_model(seed=1), "baseline": tiny_model(seed=2)}
    found = evaluate_models(models, examples[:rows], collator, reference="teacher", speed_plan=None)
    json.dumps(found, allow_nan=False)
    assert verdict(found)[0].startswith(f"{rows} test row")
    assert "too few to tell anything" in verdict(found)[0]
