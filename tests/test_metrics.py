"""Metrics as `evaluate` modules: those of the tasks, and those that a user adds."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evaluate
import numpy as np
import pytest

from distilnlp.errors import DistillationError, UnreachableError
from distilnlp.evaluation import FIGURES, evaluate_models, summary_table
from distilnlp.metrics import MetricConfig, Scoring, TaskMetric, load_metrics
from distilnlp.recipe.sections import Recipe
from distilnlp.runs import dry_run, evaluate_saved, make_plan, run
from distilnlp.tasks import (
    CHOICE_EVALUATION,
    MASKED_LM_EVALUATION,
    MULTI_LABEL_EVALUATION,
    QUESTION_EVALUATION,
    REGRESSION_EVALUATION,
    SINGLE_LABEL_EVALUATION,
    TASKS,
    TOKEN_EVALUATION,
)
from distilnlp.tasks.masked_lm.scores import MaskedTokenMetrics, MaskedTokens
from distilnlp.tasks.multi_label.scores import LabelSetMetrics
from distilnlp.tasks.question_answering.scores import AnswerMetrics
from distilnlp.tasks.regression.scores import Correlations
from distilnlp.tasks.single_label.metrics import Accuracy
from distilnlp.tasks.token_classification.scores import TagMetrics, WordLabels
from distilnlp.validation import parse_section
from tests.test_evaluation_tasks import CASES, model_of
from tests.test_runs import folder, recipe  # noqa: F401 (a fixture)

SCRIPT = """
import datasets
import evaluate

class Same(evaluate.Metric):
    def _info(self):
        column = {column}
        features = datasets.Features({{"predictions": column, "references": {references}}})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references, scale=1):
        pairs = list(zip(predictions, references))
        return {{"same": scale * sum({right} for p, r in pairs) / len(pairs), "rows": len(pairs), "unit": "row"}}
"""
IDS, TEXT = 'datasets.Value("int64")', 'datasets.Value("string")'
SCORES = 'datasets.Value("float64")'


def write_metric(
    parent: Path, column: str = IDS, references: str = "column", right: str = "p == r", **names: str
) -> str:
    """A folder with a script of its own name."""
    place = parent / "same"
    place.mkdir(exist_ok=True)
    text = SCRIPT.format(column=column, references=references, right=right, kind=names.get("kind", ""))
    (place / "same.py").write_text(text)
    return str(place)


# ---- Those of the tasks ----


@pytest.mark.parametrize("name", TASKS)
def test_every_figure_is_defined_once_and_says_its_direction(name: str) -> None:
    scoring = TASKS[name].evaluation
    first = scoring.metrics[0]()
    assert isinstance(first, evaluate.Metric)
    assert first.primary == scoring.figures[0].name
    assert first.higher_is_better == (name != "masked_lm")
    assert [*scoring.figures, *(FIGURES[measure] for measure in scoring.fidelity)] == [
        FIGURES[own] for own in [*(figure.name for figure in scoring.figures), *scoring.fidelity]
    ]


def decisions(seed: int = 0) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, (12, 3)).astype(float)
    labels[0], labels[1, 2] = np.nan, np.nan
    return generator.normal(size=(12, 3)).astype(np.float32), labels


TAGS = ("O", "B-PER", "I-PER")
FOUND = [["O", "B-PER", "B-PER"], ["B-PER", "O"]], [["O", "B-PER", "I-PER"], ["B-PER", "O"]]
TAGGED = [np.eye(3)[[0, 1, 1]], np.eye(3)[[1, 0]]], WordLabels(TAGS, [np.array([0, 1, 2]), np.array([1, 0])])
MASKED = [
    MaskedTokens(np.array([0.5, 2.0], dtype=np.float32), np.array([3, 4])),
    MaskedTokens(np.array([]), np.array([])),
]
VALUES = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, np.nan])
TEXTS = ["old bank", "sea"], [["the bank", "old"], ["sea"]]
# A module with its predictions and references, and a scoring with the same answers as it has them.
MODULES: list[tuple[type[TaskMetric], Any, Any, Scoring, Any]] = [
    (LabelSetMetrics, *decisions(), MULTI_LABEL_EVALUATION, decisions()),
    (Correlations, *map(list, VALUES), REGRESSION_EVALUATION, VALUES),
    (TagMetrics, *FOUND, TOKEN_EVALUATION, TAGGED),
    (AnswerMetrics, *TEXTS, QUESTION_EVALUATION, TEXTS),
    (
        MaskedTokenMetrics,
        [row._asdict() for row in MASKED],
        [[3, 5], []],
        MASKED_LM_EVALUATION,
        (MASKED, [np.array([3, 5]), np.array([])]),
    ),
    (Accuracy, [0, 1, 1], [0, 1, 2], CHOICE_EVALUATION, (np.eye(3)[[0, 1, 1]], np.array([0, 1, 2]))),
]


@pytest.mark.parametrize(("metric", "predictions", "references", "scoring", "answers"), MODULES)
def test_a_module_gives_the_figures_of_the_report(
    metric: Any, predictions: Any, references: Any, scoring: Scoring, answers: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    found = metric().compute(predictions=predictions, references=references)
    assert found == scoring.scores(*answers).values()
    own = [figure.name for figure in metric.figures]
    assert list(found) == (own[:2] if metric is AnswerMetrics else own)  # the others need questions without an answer
    assert list(tmp_path.iterdir()) == []


# ---- Those that a user adds ----


COLUMNS = {
    "multi": {"column": f"datasets.Sequence({IDS})"},
    "regression": {"column": SCORES},
    "token": {"column": f"datasets.Sequence({TEXT})"},
    "question": {"column": TEXT, "references": f"datasets.Sequence({TEXT})", "right": "p in r"},
}


@pytest.mark.parametrize("name", CASES)
def test_a_metric_is_given_what_the_task_predicts(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = model_of(case)
    config = MetricConfig(name=write_metric(tmp_path, **COLUMNS.get(name, {})), options={"scale": 2}, interval=True)
    metrics = load_metrics([config], case.task, model.config)
    options: dict[str, Any] = {"task": case.task, "speed_plan": None, "resamples": 100, "metrics": metrics}
    report = evaluate_models({"student": model}, case.rows, case.collator, **options)["student"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert list(report["metrics"]) == [*case.metrics, "same", "rows"]
    same = report["metrics"]["same"]
    assert 0 <= same["low"] <= same["value"] <= same["high"] <= 2
    own = {"single": "accuracy", "choice": "accuracy", "masked": "accuracy"}.get(name)
    if own:
        assert same["value"] == pytest.approx(2 * report["metrics"][own]["value"])
    assert "| same " in summary_table({"student": report})


def three_classes() -> Any:
    return SimpleNamespace(num_labels=3)


def test_an_interval_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    [metric] = load_metrics([MetricConfig(name=write_metric(tmp_path))], SINGLE_LABEL_EVALUATION, three_classes())
    found = metric.figures(np.array([0, 1]), np.array([0, 2]), 100, 0)["same"]
    assert found.value == 0.5
    assert np.isnan([found.low, found.high]).all()


def test_a_draw_that_the_module_refuses_is_left_out(tmp_path: Path) -> None:
    name = write_metric(tmp_path, right="p == r and 1 / (len({*references}) - 1)")
    [metric] = load_metrics([MetricConfig(name=name, interval=True)], SINGLE_LABEL_EVALUATION, three_classes())
    found = metric.figures(np.array([0, 1, 1]), np.array([0, 1, 0]), 100, 0)["same"]
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "{tmp}/none"}, r"no metric .*is no file.* a Python file of its own name"),
        ({"name": "./none"}, "is no file"),
        ({"name": "{tmp}"}, "is no file"),
        ({"name": "f1"}, "Python code of the Hub, which is not run unless you allow it.*trust_remote_code"),
        ({"name": "someone/metric"}, "Python code of the Hub"),
        ({"name": "{metric}", "options": {"scale": "x"}}, "cannot be computed of predictions such as"),
        ({"name": "{metric}", "options": {"average": "macro"}}, "unexpected keyword argument 'average'"),
        ({"name": "{texts}"}, "cannot be computed"),
        ({"name": "{needy}"}, "pip install no_such_package"),
        ({"name": "{empty}"}, "cannot load the metric"),
        ({"name": "{wordy}"}, "must give a number"),
        ({"name": "{taken}"}, r"gives \['accuracy'\], which are measured already"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    def script(name: str, change: Any) -> str:
        (tmp_path / name).mkdir()
        text = Path(f"{metric}/same.py").read_text()
        (tmp_path / name / f"{name}.py").write_text(change(text))
        return str(tmp_path / name)

    metric = write_metric(tmp_path)
    numbers = '"same": scale * sum(p == r for p, r in pairs) / len(pairs), "rows": len(pairs), '
    places = {
        "tmp": str(tmp_path),
        "metric": metric,
        "texts": script("texts", lambda text: text.replace(IDS, f"datasets.Sequence({IDS})")),
        "needy": script("needy", lambda text: f"import no_such_package\n{text}"),
        "empty": script("empty", lambda text: ""),
        "wordy": script("wordy", lambda text: text.replace(numbers, "")),
        "taken": script("taken", lambda text: text.replace('"same"', '"accuracy"')),
    }
    config = MetricConfig(**{**values, "name": values["name"].format(**places)})
    with pytest.raises(DistillationError, match=message):
        load_metrics([config], SINGLE_LABEL_EVALUATION, three_classes())


def test_two_metrics_of_one_name_are_refused(tmp_path: Path) -> None:
    config = MetricConfig(name=write_metric(tmp_path))
    with pytest.raises(DistillationError, match="measured already"):
        load_metrics([config, config], SINGLE_LABEL_EVALUATION, three_classes())


def test_a_trusted_metric_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    with pytest.raises(UnreachableError, match="cannot load the metric 'f1'"):
        load_metrics([MetricConfig(name="f1")], SINGLE_LABEL_EVALUATION, three_classes(), trusted=["f1"])


# ---- In recipes ----


def entries(*metrics: Any, **values: Any) -> Recipe:
    least = {"output": "o", "teacher": {"model": "t"}, "data": {"source": "d"}}
    return parse_section(Recipe, {**least, "evaluation": {"metrics": [*metrics]}, **values})


def test_entries_are_names_or_mappings() -> None:
    first, second = entries("~/m", {"name": "f1", "options": {"average": "macro"}}).evaluation.metrics
    assert first == MetricConfig(name=str(Path("~/m").expanduser()))
    assert second.options == {"average": "macro"}
    assert entries("f1", trust_remote_code="f1").trust_remote_code == ["f1"]
    with pytest.raises(DistillationError, match=r"unknown key 'evaluation.metrics.0.nme'.* 'name'"):
        entries({"nme": "f1"})
    with pytest.raises(DistillationError, match="models and metrics of this recipe are"):
        entries("f1", trust_remote_code="f2")


def test_a_run_measures_a_metric_and_measures_anew_when_its_code_changes(folder: Path) -> None:  # noqa: F811
    asked = recipe(folder, **{"evaluation.metrics": write_metric(folder), "data.max_length": 16})
    results = run(asked)
    assert set(results["models"]["student"]["metrics"]) == {"accuracy", "macro_f1", "mcc", "same", "rows"}
    card = folder / "out" / "student" / "README.md"
    assert "| same " in card.read_text()
    assert "type: same" in card.read_text()
    weights = folder / "out" / "student" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    write_metric(folder, right="p != r")
    changed = run(asked)["models"]["student"]["metrics"]
    assert changed["same"]["value"] == pytest.approx(1 - results["models"]["student"]["metrics"]["same"]["value"])
    assert weights.stat().st_mtime_ns == before
    saved = evaluate_saved(str(folder / "out" / "student"), asked.data, metrics=asked.evaluation.metrics)["student"][
        "metrics"
    ]
    assert saved["same"] == changed["same"]


def test_a_plan_tries_the_metrics(folder: Path) -> None:  # noqa: F811
    options = {"evaluation.metrics": [{"name": write_metric(folder), "options": {"average": "macro"}}]}
    with pytest.raises(DistillationError, match="unexpected keyword"):
        make_plan(recipe(folder, **options))
    text = dry_run(recipe(folder, **{"evaluation.metrics": ["f1"], "trust_remote_code": ["f1"]}))
    assert "NOT CHECKED" in text
    assert "metric 'f1'" in text
