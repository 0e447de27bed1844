"""What a report shows of a task: the task's own sections, and how a row, an answer and a label are written."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from distilnlp.errors import shortened
from distilnlp.report.evidence import STUDENT, TEACHER, Evidence
from distilnlp.report.section import Section, Table

MOST_CLASSES = 25  # in a table or a matrix: those of which the student lost most
LONGEST_TEXT = 600  # characters of a text that is shown
NONE = "–"


class TaskPart:
    """The part of one task; `[rows]` are the test rows.

    Args:
        evidence: of the run.
    """

    score_title: ClassVar[str] = "accuracy"  # of what `row_scores` gives

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.labels: Any = evidence.predictions.labels
        self.by_model = dict(evidence.predictions.by_model)
        self.names = evidence.label_names

    @property
    def has_teacher(self) -> bool:
        """Whether the teacher was measured."""
        return TEACHER in self.by_model

    # ---- What a subclass says ----

    def row_scores(self, model: str) -> NDArray:
        """Return how good a model is on each row, higher is better; NaN where a row has no label."""
        raise NotImplementedError

    def differences(self) -> NDArray:
        """Return how far apart the answers of student and teacher to each row are; 0 where they are the same."""
        raise NotImplementedError

    def text(self, row: int) -> Markup:
        """Return the text of a row."""
        return Markup("<br>").join(paragraph(text) for text in self.evidence.rows[row].values())

    def answer(self, model: str, row: int) -> Markup:
        """Return what a model answers to a row."""
        raise NotImplementedError

    def label(self, row: int) -> Markup:
        """Return the label of a row."""
        raise NotImplementedError

    def sections(self) -> Iterator[Section]:
        """Yield the task's own sections."""
        yield from ()

    # ---- What they share ----

    def pair(self) -> tuple[Any, Any]:
        """Return the predictions of student and teacher."""
        return self.by_model[STUDENT], self.by_model[TEACHER]

    def lost_table(self, kinds: Iterable[tuple[str, int, dict[str, float]]], header: Sequence[str], what: str) -> Table:
        """Return a table of what each model finds of each kind, those first of which the student lost most.

        Args:
            kinds: the name of each, how many there are of it, and the score of each model.
            header: of the first two columns.
            what: the kinds are called.
        """
        beside = ["student − teacher"] if self.has_teacher else []
        rows: list[tuple[float, list[str]]] = []
        for name, count, scores in kinds:
            lost = scores[STUDENT] - scores.get(TEACHER, np.nan)
            rows.append((lost, [name, f"{count:,}", *map(share, scores.values()), *(points_of(lost) for _ in beside)]))
        return worst_first(rows, [*header, *self.by_model, *beside], what)

    def name_of(self, index: int) -> str:
        """Return the name of a class."""
        return self.names[index] if index < len(self.names) else str(index)


def paragraph(text: str) -> Markup:
    """Return a text, escaped, without the middle if it is long."""
    return escape(shortened(text, LONGEST_TEXT))


def sure(answer: str, certainty: float) -> Markup:
    """Return an answer and how sure of it a model is."""
    return Markup("{} <small>{:.0%}</small>").format(answer, certainty)


def worst_first(rows: list[tuple[float, list[str]]], header: list[str], what: str) -> Table:
    """Return a table of the classes in the order of what the student lost, and of many the first."""
    ordered = [cells for _, cells in sorted(rows, key=lambda row: (np.isnan(row[0]), row[0]))]
    left = len(ordered) - MOST_CLASSES
    note = f"The {MOST_CLASSES} {what} of which the student lost most; {left:,} others are left out."
    return Table(header, ordered[:MOST_CLASSES], note if left > 0 else "")


def share(value: float) -> str:
    """Write a share, or that there is none."""
    return NONE if np.isnan(value) else f"{value:.1%}"


def points_of(value: float) -> str:
    """Write a difference of shares in points, with its sign."""
    return NONE if np.isnan(value) else f"{100 * value:+.1f}".replace("-", "−")
