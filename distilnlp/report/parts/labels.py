"""Any number of labels a text: what the student lost label by label, and which threshold suits it."""

from collections.abc import Iterator

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from scipy.special import expit

from distilnlp.report.evidence import STUDENT
from distilnlp.report.parts.part import NONE, TaskPart, share, sure
from distilnlp.report.plots import lines
from distilnlp.report.section import Plot, Section

THRESHOLDS = np.linspace(0.05, 0.95, 19)


class LabelsPart(TaskPart):
    """Logits and labels `[rows, labels]`; a label is 1, 0 or NaN = unknown."""

    score_title = "share of the labels that are right"

    def row_scores(self, model: str) -> NDArray:
        known = ~np.isnan(self.labels)
        right = ((self.by_model[model] > 0) == self.labels) & known
        count = known.sum(-1)
        return np.where(count == 0, np.nan, right.sum(-1) / np.maximum(count, 1))

    def differences(self) -> NDArray:
        """How many labels one has and the other not, and then how far apart their probabilities are."""
        student, teacher = (expit(own.astype(np.float64)) for own in self.pair())
        differ = (student > 0.5) != (teacher > 0.5)
        return np.where(differ, 1 + np.abs(student - teacher), 0.0).sum(-1)

    def answer(self, model: str, row: int) -> Markup:
        chances = expit(self.by_model[model][row].astype(np.float64))
        held = np.flatnonzero(chances > 0.5).tolist()
        return Markup(", ").join(sure(self.name_of(label), chances[label]) for label in held) or escape(NONE)

    def label(self, row: int) -> Markup:
        return escape(", ".join(self.name_of(i) for i in np.flatnonzero(self.labels[row] == 1).tolist()) or NONE)

    def sections(self) -> Iterator[Section]:
        kinds = []
        for label in range(len(self.names)):
            scores = {name: self._f1(own[:, [label]], 0.5, [label]) for name, own in self.by_model.items()}
            kinds.append((self.name_of(label), int((self.labels[:, label] == 1).sum()), scores))
        table = self.lost_table(kinds, ["label", "rows"], "labels")
        yield Section("Label by label", ["F1 of each label."], tables=[table])
        yield self._thresholds()

    def _thresholds(self) -> Section:
        every = range(self.labels.shape[1])
        curves = {
            name: [self._f1(own, threshold, every) for threshold in THRESHOLDS] for name, own in self.by_model.items()
        }
        best = int(np.nanargmax(curves[STUDENT]))
        usual = share(self._f1(self.by_model[STUDENT], 0.5, every))
        said = (
            "A label holds where its probability is above a threshold, 0.5 if you do not say otherwise. The student's "
            f"micro-F1 on these rows is {usual} at 0.5 and highest, {share(curves[STUDENT][best])}, at "
            f"{THRESHOLDS[best]:.2f}. Choose a threshold on rows of your own: on those that chose it the figure is too "
            "good."
        )
        series = {name: (list(THRESHOLDS), own) for name, own in curves.items()}
        plots = [Plot(lines(series, "threshold", "micro-F1", "thresholds"), "micro-F1 at each threshold")]
        return Section("Thresholds", [said], plots)

    def _f1(self, logits: NDArray, threshold: float, labels: "list[int] | range") -> float:
        truth = self.labels[:, list(labels)]
        known = ~np.isnan(truth)
        found = (expit(logits.astype(np.float64)) > threshold) & known
        right = (found & (truth == 1)).sum()
        total = found.sum() + (truth == 1).sum()
        return float(2 * right / total) if total else float("nan")
