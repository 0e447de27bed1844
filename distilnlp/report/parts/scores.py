"""One number a text: predicted beside true, and how far off."""

from collections.abc import Iterator

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from distilnlp.report.parts.part import NONE, TaskPart
from distilnlp.report.plots import cloud
from distilnlp.report.section import Plot, Section, Table

MOST_POINTS = 2000  # in a plot: of more rows some, at even distances


class ScoresPart(TaskPart):
    """Predictions and labels `[rows]`; NaN = no label."""

    score_title = "closeness (minus the absolute error)"

    def row_scores(self, model: str) -> NDArray:
        return -np.abs(self.by_model[model].astype(np.float64) - self.labels)

    def differences(self) -> NDArray:
        student, teacher = self.pair()
        return np.abs(student.astype(np.float64) - teacher)

    def answer(self, model: str, row: int) -> Markup:
        return escape(f"{self.by_model[model][row]:.3g}")

    def label(self, row: int) -> Markup:
        return escape(NONE if np.isnan(self.labels[row]) else f"{self.labels[row]:.3g}")

    def sections(self) -> Iterator[Section]:
        known = np.flatnonzero(~np.isnan(self.labels))
        chosen = known[:: max(1, len(known) // MOST_POINTS)]
        series = {name: (self.labels[chosen], own[chosen]) for name, own in self.by_model.items()}
        errors = {name: np.abs(own[known] - self.labels[known]) for name, own in self.by_model.items()}
        rows = [
            ["mean absolute error", *(f"{own.mean():.3g}" for own in errors.values())],
            *(
                [title, *(f"{np.percentile(own, percent):.3g}" for own in errors.values())]
                for title, percent in {"half of the errors are below": 50, "90% of them": 90}.items()
            ),
        ]
        plots = [Plot(cloud(series, "true", "predicted", "cloud"), "predicted beside true values; the line is perfect")]
        yield Section("Predicted and true", [], plots, [Table(["", *errors], rows)])
