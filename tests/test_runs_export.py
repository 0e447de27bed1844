"""The graphs of a run: made after the student, measured beside it, reused, and no reason for a run to fail."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distilnlp.cli.commands import main
from distilnlp.errors import DistillationError
from distilnlp.evaluation import INT8_STUDENT
from distilnlp.recipe.sections import load_recipe
from distilnlp.runs import exporting, run, steps
from distilnlp.runs.exporting import Export, runtimes_of
from distilnlp.serving import FP32, INT8, OnnxPredictor
from tests.test_runs import folder, recipe

__all__ = ["folder"]  # a fixture
NONE: dict[str, Any] = {"export.formats": ["onnx", "onnx-int8"], "export.min_agreement": 0.0}


def test_a_run_leaves_graphs_and_measures_int8_beside_the_student(folder: Path) -> None:
    results = run(recipe(folder, **NONE, **{"evaluation.speed": True}))
    student = folder / "out" / "student"
    assert list(results["models"]) == ["teacher", "student", INT8_STUDENT]
    own, graph = results["models"]["student"], results["models"][INT8_STUDENT]
    assert graph["bytes"] == (student / INT8).stat().st_size
    assert graph["parameters"] == own["parameters"]
    assert graph["speed"]["throughput_per_second"] > 0
    assert abs(graph["metrics"]["accuracy"]["value"] - own["metrics"]["accuracy"]["value"]) < 0.2
    said = [sentence for sentence in results["verdict"] if sentence.startswith("In int8 the student has accuracy")]
    assert len(said) == 1
    assert "latency, 1 text" in said[0]
    assert OnnxPredictor(student, precision="fp32")(["the film plot"])[0]["label"] in results["label_names"]
    made = Export.read(student / "onnx")
    assert made is not None
    assert list(made.graphs) == [FP32, INT8]
    assert made.rows == 24 + 8  # of the training rows: there is no validation split


def test_graphs_are_reused_and_made_anew_with_the_student(folder: Path) -> None:
    run(recipe(folder, **NONE))
    graph = folder / "out" / "student" / FP32
    before = graph.stat().st_mtime_ns
    assert run(recipe(folder, **NONE))["models"][INT8_STUDENT]
    assert graph.stat().st_mtime_ns == before
    shutil.rmtree(graph.parent)
    run(recipe(folder, **NONE))
    assert graph.is_file()
    run(recipe(folder, **NONE, **{"training.learning_rate": 1e-3}))
    assert graph.stat().st_mtime_ns > before
    assert (folder / "out" / "student" / "README.md").is_file()


def test_a_graph_that_cannot_be_made_is_said_and_the_run_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise DistillationError("a BertModel cannot be exported to ONNX: it is Tuesday.")

    monkeypatch.setattr(exporting, "export_graph", fail)
    monkeypatch.setattr(steps, "runtimes_of", runtimes_of)
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe(folder).model_dump(mode="json")))
    assert main(["distill", str(file)]) == 0
    said = capsys.readouterr().out
    assert "ONNX      not exported: a BertModel cannot be exported to ONNX: it is Tuesday." in said
    assert "distilnlp export" in said
    assert any("not exported to ONNX" in message for message in caplog.messages)
    results = json.loads((folder / "out" / "results.json").read_text())
    assert list(results["models"]) == ["teacher", "student"]
    assert [file.name for file in (folder / "out" / "student" / "onnx").iterdir()] == ["export.json"]


@pytest.mark.parametrize(
    ("given", "formats"),
    [(True, None), (False, []), (["openvino"], ["openvino"]), ({"min_agreement": 0.9}, None)],
)
def test_a_recipe_says_export_in_a_word(folder: Path, given: Any, formats: Any) -> None:
    assert recipe(folder, export=given).export.formats == formats


def test_what_is_no_format_is_refused(folder: Path) -> None:
    with pytest.raises(DistillationError, match=r"export\.formats"):
        recipe(folder, export=["tflite"])
    with pytest.raises(DistillationError, match="export"):
        load_recipe(None, {**recipe(folder).model_dump(mode="json"), "export": "onnx, please"})


def test_without_the_packages_a_run_exports_nothing_unless_it_is_told_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(folder).export
    assert [runtime.title for runtime in runtimes_of(config)] == ["ONNX"]
    monkeypatch.setattr("distilnlp.export.runtimes.find_spec", lambda name: None)
    assert runtimes_of(config) == []
    with pytest.raises(
        DistillationError, match=r"needs the package onnx\. Install it: pip install 'distilnlp\[export\]'"
    ):
        run(recipe(folder, **NONE))
    assert not (folder / "out" / "student").exists()
