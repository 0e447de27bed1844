"""`distilnlp benchmark`: every runtime a model has, figures that fit together, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilnlp.cli.commands import main
from distilnlp.data import DataConfig
from distilnlp.models.running import bf16_is_fast
from distilnlp.runs import BenchmarkPlan, benchmark_saved, benchmarking, export_saved
from distilnlp.runs.benchmarking import _speed_up
from distilnlp.runs.exporting import ExportConfig
from distilnlp.serving import OnnxPredictor
from distilnlp.tasks import TASKS
from tests.test_export import TEXTS, rows_file, saved
from tests.tiny import tiny_model
from tests.tiny_tasks import task_model

SHORT = BenchmarkPlan(batch_sizes=(2,), seconds=0.01)
TORCH = ["torch fp32", "torch bf16"] if bf16_is_fast() else ["torch fp32"]


@pytest.fixture
def texts(tmp_path: Path) -> str:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    return str(tmp_path / "texts.txt")


def test_every_runtime_of_each_model_is_timed(tmp_path: Path, texts: str) -> None:
    teacher = saved(tmp_path / "teacher", tiny_model(num_hidden_layers=2))
    student = saved(tmp_path / "student", tiny_model(num_hidden_layers=1))
    export_saved(student, ExportConfig(min_agreement=0), DataConfig(source=texts))
    found = benchmark_saved([teacher, student], DataConfig(source=texts), SHORT)
    named = [f"{one['model']} {one['runtime']} {one['precision']}" for one in found["models"]]
    assert named == [
        *(f"teacher {runtime}" for runtime in TORCH),
        *(f"student {runtime}" for runtime in [*TORCH, "ONNX fp32", "ONNX int8"]),
    ]
    assert found["models"][0]["speed_up"] == (1.0, 1.0, 1.0)
    for one in found["models"]:
        p50, p95, p99 = one["latency_ms"]
        assert 0 < p50 <= p95 <= p99
        assert one["latency_ms_from_text"][0] > p50 * 0.5
        assert one["speed_up"][1] <= one["speed_up"][0] <= one["speed_up"][2]
        (batches,) = one["throughput"]
        assert batches["seconds"] == pytest.approx(benchmarking.MILLION / batches["per_second_from_text"])
        assert batches["per_second"] > batches["per_second_from_text"]
        assert one["cold_start_seconds"] > 0
        assert one["peak_bytes"] > 10e6
    in_torch, in_onnx = (found["models"][place] for place in (0, -1))
    assert in_torch["peak_bytes"] > 2 * in_onnx["peak_bytes"]  # which has no torch
    assert in_onnx["bytes"] == (tmp_path / "student" / "onnx" / "model_quantized.onnx").stat().st_size


@pytest.mark.parametrize("task", [name for name in TASKS if TASKS[name].rows.needs_labels])
def test_every_task_is_timed(tmp_path: Path, task: str) -> None:
    model = saved(tmp_path / "model", task_model(task, num_hidden_layers=1))
    export_saved(model, task=task)
    plan = BenchmarkPlan(lengths=(8,), batch_sizes=(2,), seconds=0.01)
    found = benchmark_saved([model], rows_file(tmp_path, task), plan, task)
    for one in found["models"]:
        assert one["throughput"][0]["batch_size"] == (1 if task == "multiple_choice" else 2)
        assert one["throughput"][0]["length"] == 8
        assert one["cold_start_seconds"] is not None, one


def test_texts_are_cut_as_asked_and_then_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved(tmp_path / "model", tiny_model(num_hidden_layers=1))
    export_saved(model)
    lengths: list[int] = []
    original = OnnxPredictor.run_session

    def spy(self: Any, feed: Any) -> Any:
        lengths.append(feed["input_ids"].shape[-1])
        return original(self, feed)

    monkeypatch.setattr(OnnxPredictor, "run_session", spy)
    predict = OnnxPredictor(model)
    contender = benchmarking._Contender(benchmarking.Served("m", "ONNX", "fp32", 1), tmp_path, predict)
    whole, bar = predict.max_length, benchmarking.progress("")
    with bar as shown:
        benchmarking._time_throughput([contender], (TEXTS, None), 4, 2, SHORT, shown)
    assert max(lengths) == 4
    assert predict.max_length == whole


def test_a_speed_up_is_that_of_the_medians_with_an_interval_that_holds_it() -> None:
    random = np.random.default_rng(0)
    own = random.gamma(20, size=200)
    found = _speed_up(own * 3 * random.gamma(400, 1 / 400, size=200), own)
    assert found[1] < found[0] < found[2]
    assert found[1] < 3 < found[2]
    assert _speed_up(own, own) == (1.0, 1.0, 1.0)


def test_the_command_shows_tables_and_a_price(tmp_path: Path, texts: str, capsys: Any) -> None:
    model = saved(tmp_path / "model", tiny_model(num_hidden_layers=1))
    words = ["benchmark", model, "--data", texts, "--seconds", "0.01", "--batch-sizes", "2", "--lengths", "4,8"]
    assert main([*words, "--price", "3.6", "--output", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"one text, 1 thread, ms +p50 +p95 +p99 +p50 from text +as fast\n", said)
    for length in (4, 8):
        assert f"texts a second, batches of 2, {length} tokens" in said
    assert re.search(r"CPU s +hours +price +memory MB", said)
    assert max(map(len, said.splitlines())) <= 120
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["models"][0]["throughput"]) == 2
    assert found["plan"]["threads"] == 1
    assert "1 threads" in found["environment"]["device"] or "1 thread" in found["environment"]["device"]


def test_a_process_that_fails_leaves_its_figures_out(
    tmp_path: Path, texts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "model", tiny_model(num_hidden_layers=1))
    monkeypatch.setattr(benchmarking, "COLD", dict.fromkeys(("torch", "ONNX"), "raise SystemExit(3)"))
    found = benchmark_saved([model], DataConfig(source=texts), SHORT)
    assert found["models"][0]["peak_bytes"] is None
    assert found["models"][0]["cold_start_seconds"] is None


def test_the_peak_is_that_of_the_process_alone(tmp_path: Path, texts: str) -> None:
    ballast = np.ones(60_000_000)  # 480 MB that a child must not be charged with
    model = saved(tmp_path / "model", tiny_model(num_hidden_layers=1))
    export_saved(model)
    found = benchmark_saved([model], DataConfig(source=texts), SHORT)
    assert found["models"][-1]["peak_bytes"] < ballast.nbytes or not Path("/proc/self/status").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model"], "--data is missing"),
        (["nowhere", "--data", "texts.txt"], "nowhere"),
        (["model", "--data", "nothing.csv"], "no file nothing.csv"),
        (["model", "--data", "texts.txt", "--threads", "0"], "--threads must be positive numbers, but it is '0'"),
        (["model", "--data", "texts.txt", "--batch-sizes", "8,x"], "--batch-sizes must be positive numbers"),
        (["model", "--data", "texts.txt", "--seconds", "1,2"], "--seconds must be"),
        (["model", "--data", "blank.jsonl"], "blank"),
    ],
)
def test_wrong_commands_are_refused(
    tmp_path: Path, texts: str, capsys: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "model", tiny_model(num_hidden_layers=1))
    (tmp_path / "blank.jsonl").write_text('{"text": " "}\n' * 3)
    assert main(["benchmark", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
