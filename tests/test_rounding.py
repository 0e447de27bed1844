"""Training as int8 will compute: the roundings of ONNX Runtime, gradients as if there were none, a run that does it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from distilnlp.export import ONNX, export_graph, quantize
from distilnlp.export.graph import sample
from distilnlp.export.rounding import rounded, rounded_values, rounded_weight
from distilnlp.files import checksum
from distilnlp.runs import run
from distilnlp.runs.runner import make_plan
from distilnlp.serving import INT8
from distilnlp.tasks import TASKS
from tests.test_runs import folder, recipe
from tests.tiny import tiny_tokenizer
from tests.tiny_tasks import task_model

__all__ = ["folder"]  # a fixture
TASK = TASKS["single_label_classification"]


def naive_weight(row: list[float]) -> list[float]:
    scale = max(abs(value) for value in row) / 127
    return [round(value / scale) * scale for value in row]


def naive_activation(values: list[float]) -> list[float]:
    low, high = min([0.0, *values]), max([0.0, *values])
    scale = (high - low) / 255
    zero = round(-low / scale)
    return [(min(255, max(0, round(value / scale) + zero)) - zero) * scale for value in values]


def test_the_roundings_are_the_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 9, dtype=torch.float64, generator=generator)
    expected = torch.tensor([naive_weight(row) for row in weight.tolist()], dtype=torch.float64)
    torch.testing.assert_close(rounded_weight(weight), expected, atol=1e-12, rtol=0)
    for values in (weight, weight.abs(), -weight.abs() - 1):
        own = torch.tensor(naive_activation(values.flatten().tolist()), dtype=torch.float64).view(4, 9)
        torch.testing.assert_close(rounded_values(values), own, atol=1e-12, rtol=0)
    assert math.isfinite(rounded_weight(torch.zeros(2, 2)).sum())
    assert math.isfinite(rounded_values(torch.zeros(2, 2)).sum())


def test_gradients_pass_as_if_nothing_was_rounded() -> None:
    for round_it in (rounded_weight, rounded_values):
        values = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
        factor = torch.randn(3, 5, dtype=torch.float64)
        (round_it(values) * factor).sum().backward()
        torch.testing.assert_close(values.grad, factor)


def test_a_rounded_model_answers_like_its_graph_in_int8(tmp_path: Path) -> None:
    model = task_model(TASK.name, num_hidden_layers=2)
    fp32 = export_graph(model, tiny_tokenizer(), TASK, tmp_path / "model.onnx", ONNX)
    quantize(fp32.path, tmp_path / "int8.onnx", lambda _: 1.0, 0.0)
    int8 = ONNX.load(tmp_path / "int8.onnx", model.config, fp32.inputs)
    batch = sample(fp32.inputs, TASK, 8, 12, model)
    before = {name: own.clone() for name, own in model.state_dict().items()}
    with torch.no_grad():
        plain = model(**batch).logits
        with rounded(model):
            own = model(**batch).logits
        again = model(**batch).logits
    graph = int8(**batch).logits
    assert (own - graph).abs().max() < 1e-4 < 1e-2 < (plain - graph).abs().max()
    assert torch.equal(again, plain)
    assert all(torch.equal(own, before[name]) for name, own in model.state_dict().items())


def test_a_run_trains_on_as_int8_will_compute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"export.formats": ["onnx", "onnx-int8"], "export.min_agreement": 0.0}
    plain = run(recipe(folder, **options))
    first = checksum(folder / "out" / "student" / "model.safetensors")
    wanted = recipe(folder, **options, **{"export.distil_int8": True})
    assert make_plan(wanted).trainings["int8"]["num_train_epochs"] == 1
    results = run(wanted)
    assert checksum(folder / "out" / "student" / "model.safetensors") != first
    rates = [results["hyperparameters"][name]["learning_rate"] for name in ("student", "int8")]
    assert rates[1] == pytest.approx(rates[0] / 10)
    assert "int8" not in plain["hyperparameters"]
    assert (folder / "out" / "student" / INT8).is_file()
    assert (folder / "out" / "student" / "history.jsonl").is_file()
