"""Runs side by side: what differs in their recipes, and whether their students differ on the same test rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from distilnlp.errors import DistillationError
from distilnlp.evaluation import measure_quality, relation_said
from distilnlp.evaluation.table import ABSENT
from distilnlp.files import unique_tails
from distilnlp.metrics import labels_agree
from distilnlp.report.evidence import STUDENT, Evidence


@dataclass(frozen=True)
class Comparison:
    """Finished runs of one task, side by side.

    Attributes:
        runs: by a name that is each one's own.
    """

    runs: Mapping[str, Evidence]

    @classmethod
    def of(cls, runs: Sequence[Evidence]) -> "Comparison":
        """Name the runs.

        Raises:
            DistillationError: there are not two, or one is given twice, or they are of different tasks.
        """
        if len(runs) < 2:
            raise DistillationError(f"expected two runs or more to compare, but got {len(runs)}. Name their folders.")
        folders = [str(run.folder.resolve()) for run in runs]
        if len(set(folders)) < len(folders):
            raise DistillationError("expected different runs, but one folder is given twice. Name each once.")
        tasks = {run.task for run in runs}
        if len(tasks) > 1:
            raise DistillationError(
                f"expected runs of one task to compare, but these are of {', '.join(sorted(tasks))}. "
                "`distilnlp report` shows them on one page."
            )
        return cls(dict(zip(unique_tails(folders), runs, strict=True)))

    @property
    def reports(self) -> dict[str, Any]:
        """What was measured of each student."""
        return {name: run.models[STUDENT] for name, run in self.runs.items()}

    @property
    def has_same_rows(self) -> bool:
        """Whether all were measured on the same test rows."""
        first, *others = self.runs.values()
        return all(
            run.rows == first.rows and labels_agree(first.predictions.labels, run.predictions.labels) for run in others
        )

    @cached_property
    def said(self) -> list[str]:
        """Sentences: how each pair of students stands, by the 95% interval of their difference over paired draws."""
        if not self.has_same_rows:
            return [
                "The runs were measured on other test rows or labels, so that no difference between them is told. "
                "Run one again on the data of the other, or measure both students by `distilnlp evaluate`."
            ]
        first = next(iter(self.runs.values()))
        answers = {name: run.predictions.by_model[STUDENT] for name, run in self.runs.items()}
        qualities = measure_quality(answers, first.predictions.labels, first.scoring)
        return [relation_said(qualities, later, earlier) for earlier, later in combinations(self.runs, 2)]

    @cached_property
    def differences(self) -> list[tuple[str, list[str]]]:
        """The keys of the recipes that are not the same, with the value of each run; the output aside."""
        recipes = [dict(_flat(run.recipe)) for run in self.runs.values()]
        keys = dict.fromkeys(key for recipe in recipes for key in recipe)
        return [
            (key, [str(recipe.get(key, ABSENT)) for recipe in recipes])
            for key in keys
            if key != "output" and any(recipe.get(key) != recipes[0].get(key) for recipe in recipes)
        ]


def _flat(values: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", value
