"""One class a text, or the choice among several: what the student lost class by class, and where it is wrong."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from scipy.special import softmax

from distilnlp.errors import shortened
from distilnlp.report.evidence import STUDENT, TEACHER
from distilnlp.report.parts.part import MOST_CLASSES, NONE, TaskPart, paragraph, sure
from distilnlp.report.plots import matrix, reliability
from distilnlp.report.section import Plot, Section, Table
from distilnlp.signals import CHOICES, NO_LABEL

BINS = 10  # of the reliability diagram
LONGEST_NAME = 24  # characters of a class at the edge of a plot


class ClassesPart(TaskPart):
    """Logits `[rows, classes]`, labels `[rows]`."""

    def row_scores(self, model: str) -> NDArray:
        right = (self.by_model[model].argmax(-1) == self.labels).astype(float)
        return np.where(self.labels == NO_LABEL, np.nan, right)

    def differences(self) -> NDArray:
        """Half the sum of the absolute differences of their probabilities, where they answer differently."""
        student, teacher = (softmax(own.astype(np.float64), axis=-1) for own in self.pair())
        apart = np.abs(student - teacher).sum(-1) / 2
        return np.where(student.argmax(-1) == teacher.argmax(-1), 0.0, apart)

    def answer(self, model: str, row: int) -> Markup:
        chances = softmax(self.by_model[model][row].astype(np.float64))
        return sure(self.name_of(int(chances.argmax())), float(chances.max()))

    def label(self, row: int) -> Markup:
        label = int(self.labels[row])
        return escape(NONE if label == NO_LABEL else self.name_of(label))

    def sections(self) -> Iterator[Section]:
        yield self._retention()
        yield self._confusion()
        yield self.calibration()

    def calibration(self) -> Section:
        """How often models are right at each confidence (Guo et al. 2017, arXiv 1706.04599)."""
        return Section(
            "Is it as sure as it is right?",
            ["On the line a model is right as often as it says. Above it, it is too cautious; below, too sure."],
            [Plot(reliability(self._bins(), "reliability"), "share of right answers at each confidence")],
        )

    def _retention(self) -> Section:
        """What of each class is found (recall), by each model."""
        labelled = self.labels != NO_LABEL
        found = {name: own.argmax(-1)[labelled] for name, own in self.by_model.items()}
        labels = self.labels[labelled]
        kinds = []
        for label in range(len(self.names)):
            own = labels == label
            recalls = {name: (ids[own] == label).mean() if own.any() else np.nan for name, ids in found.items()}
            kinds.append((self.name_of(label), int(own.sum()), recalls))
        said = ["The share of each class's rows that a model recognises (recall)."]
        return Section("Class by class", said, tables=[self.lost_table(kinds, ["class", "rows"], "classes")])

    def _confusion(self) -> Section:
        """Student beside teacher, or beside the labels where there is no teacher."""
        student = self.by_model[STUDENT].argmax(-1)
        other = self.by_model[TEACHER].argmax(-1) if self.has_teacher else self.labels
        known = other != NO_LABEL
        student, other = student[known], other[known]
        count = len(self.names)
        counts = np.bincount(other * count + student, minlength=count * count).reshape(count, count)
        wrong = counts.sum(1) + counts.sum(0) - 2 * counts.diagonal()
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CLASSES])
        names = [shortened(self.name_of(index), LONGEST_NAME) for index in chosen]
        beside = "teacher" if self.has_teacher else "label"
        svg = matrix(counts[np.ix_(chosen, chosen)], names, "the student says", f"the {beside} says", "confusion")
        return Section(
            f"Where the student differs from the {beside}",
            [f"Each row holds the texts of which the {beside} says the class; off the diagonal the student differs."],
            [Plot(svg, f"counts of the answers of {beside} (rows) and student (columns)")],
            [self._swaps(counts, beside)],
        )

    def _swaps(self, counts: NDArray, beside: str) -> Table:
        off = counts - np.diag(counts.diagonal())
        order = np.argsort(-off, axis=None, kind="stable")[:10]
        pairs = [(divmod(int(place), len(counts)), int(off.flat[place])) for place in order if off.flat[place]]
        rows = [[self.name_of(row), self.name_of(column), f"{count:,}"] for (row, column), count in pairs]
        return Table([f"the {beside} says", "the student says", "texts"], rows, "" if rows else "They never differ.")

    def _bins(self) -> dict[str, tuple[NDArray, NDArray]]:
        """Return the mean confidence and the share of right answers of each bin that has some."""
        labelled, bins = self.labels != NO_LABEL, {}
        for name, own in self.by_model.items():
            chances = softmax(own[labelled].astype(np.float64), axis=-1)
            confidences, right = chances.max(-1), chances.argmax(-1) == self.labels[labelled]
            place = np.minimum((confidences * BINS).astype(int), BINS - 1)
            filled = np.unique(place)
            bins[name] = (
                np.array([confidences[place == bin_].mean() for bin_ in filled]),
                np.array([right[place == bin_].mean() for bin_ in filled]),
            )
        return bins


class ChoicesPart(ClassesPart):
    """Logits `[rows, choices]`, −inf where a row has fewer; the choices stand in the row."""

    def text(self, row: int) -> Markup:
        prompt = [paragraph(value) for name, value in self.evidence.rows[row].items() if name != CHOICES]
        return Markup("<br>").join([*prompt, *(Markup("• {}").format(one) for one in self._choices(row))])

    def answer(self, model: str, row: int) -> Markup:
        chances = softmax(self.by_model[model][row].astype(np.float64))
        return sure(self._choices(row)[int(chances.argmax())], float(chances.max()))

    def label(self, row: int) -> Markup:
        label = int(self.labels[row])
        return escape(NONE if label == NO_LABEL else self._choices(row)[label])

    def sections(self) -> Iterator[Section]:
        yield self.calibration()  # the choices are not the same from row to row: there are no classes

    def _choices(self, row: int) -> list[Any]:
        return list(self.evidence.rows[row].get(CHOICES, []))
