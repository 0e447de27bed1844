"""What a finished run left in its folder, read back: no model is loaded, and nothing is computed that is kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distilnlp.errors import DistillationError, shown
from distilnlp.evaluation import ANSWERS, PREDICTIONS, ROWS, Predictions, read_rows, title_of
from distilnlp.metrics import Scoring
from distilnlp.recipe.text import read_yaml
from distilnlp.tasks import TASKS

TRAININGS = ("teacher", "student", "baseline")  # folders of models, each with the history of its training
STUDENT, TEACHER = "student", "teacher"


@dataclass(frozen=True)
class Evidence:
    """A finished run.

    Attributes:
        folder: of the run.
        results: the content of `results.json`.
        predictions: what its models answered to the test rows.
        rows: the test rows as the models read them.
    """

    folder: Path
    results: Mapping[str, Any]
    predictions: Predictions
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, folder: str | Path) -> "Evidence":
        """Read a run's folder.

        Raises:
            DistillationError: no finished run lies there, or it is of an older version.
        """
        folder = Path(folder)
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            rows = read_rows(folder / PREDICTIONS / ROWS)
        except (OSError, ValueError) as error:
            raise DistillationError(
                f"expected the folder of a finished run, with results.json and {PREDICTIONS}/, but "
                f"{shown(str(folder))} is none: {error}. Give the output folder of a run; an older one must be "
                "run again."
            ) from None
        if results.get("task") not in TASKS:
            raise DistillationError(
                f"{folder / 'results.json'} is of an older version, or of another program: it names no task. Run the "
                "recipe again."
            )
        return cls(folder, results, Predictions.load(folder / PREDICTIONS / ANSWERS), rows)

    @property
    def name(self) -> str:
        """The last part of the folder."""
        return self.folder.resolve().name

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.results["task"])

    @property
    def scoring(self) -> Scoring:
        """How the task is scored."""
        return TASKS[self.task].evaluation

    @property
    def models(self) -> dict[str, Any]:
        """The report of each model, in their order."""
        return dict(self.results["models"])

    @property
    def metric(self) -> str:
        """Name of the first metric."""
        return str(next(iter(self.models[STUDENT]["metrics"])))

    @property
    def metric_title(self) -> str:
        """What the first metric is called."""
        return title_of(self.metric, self.predictions.labelled_by)

    @property
    def label_names(self) -> list[str]:
        """Names of the classes or labels; none where they have none."""
        return list(self.results["label_names"])

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What the recipe says; nothing if it cannot be read."""
        try:
            values = read_yaml((self.folder / "recipe.yaml").read_text(encoding="utf-8"), "the recipe of the run")
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    @cached_property
    def histories(self) -> dict[str, list[dict[str, Any]]]:
        """What was logged in each training, by the model's folder."""
        found = {name: self.folder / name / "history.jsonl" for name in TRAININGS}
        return {name: _lines(file) for name, file in found.items() if file.is_file()}


def _lines(file: Path) -> list[dict[str, Any]]:
    entries = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:  # the end of a line that a kill cut off
            continue
    return [entry for entry in entries if isinstance(entry, dict)]
