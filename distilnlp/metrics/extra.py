"""Metrics that a user adds to those of a task: `evaluate` modules from a local folder or the Hub."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from transformers import PreTrainedConfig

from distilnlp.errors import DistillationError, UnreachableError, shortened, shown
from distilnlp.metrics.intervals import Interval, Scorer
from distilnlp.metrics.scoring import Items, Scoring
from distilnlp.validation import PathOrName, Section

if TYPE_CHECKING:
    from evaluate import EvaluationModule


class MetricConfig(Section):
    """An entry of `evaluation.metrics`."""

    name: PathOrName = Field(min_length=1, description="local folder or script, or a name of the Hub")
    config_name: str | None = Field(default=None, description="which of the module's configurations, if it has any")
    options: dict[str, Any] = Field(default_factory=dict, description="what its `compute` takes beside the answers")
    interval: bool = Field(default=False, description="also its 95% interval: it is computed anew for each resample")


@dataclass(frozen=True)
class ExtraMetric:
    """An `evaluate` module as a recipe asked for it."""

    config: MetricConfig
    module: "EvaluationModule"

    @property
    def identity(self) -> str:
        """What changes with the module's code."""
        return type(self.module).__module__  # evaluate puts the hash of the code there

    def values(self, predictions: Items, references: Items) -> dict[str, float]:
        """Return the numbers that the module gives, by their names; a `DistillationError` if it gives none."""
        try:
            found = self.module.compute(predictions=predictions, references=references, **self.config.options)
            numbers = {name: float(value) for name, value in found.items() if isinstance(value, Real)}
        except Exception as error:  # the code is not ours: anything
            raise DistillationError(
                f"the metric {shown(self.config.name)} cannot be computed of predictions such as "
                f"{shown(predictions[:1])}: {_said(error)}. Set its options or config_name, or leave it out."
            ) from error
        if not numbers:
            raise DistillationError(
                f"the metric {shown(self.config.name)} must give a number, but it gives {shown(found)}. Leave it out."
            )
        return numbers

    def figures(self, predictions: Items, references: Items, resamples: int, seed: int) -> dict[str, Interval]:
        """Return the numbers of `values`, with intervals over draws of the answers if these were asked for."""
        values = self.values(predictions, references)
        if not self.config.interval:
            return {name: Interval(value, np.nan, np.nan) for name, value in values.items()}

        def scores(drawn: NDArray) -> dict[str, NDArray]:
            sets = [self._drawn(predictions, references, ids) for ids in drawn.reshape(-1, drawn.shape[-1])]
            return {name: np.reshape([one.get(name, np.nan) for one in sets], drawn.shape[:-1]) for name in values}

        return Scorer(scores, (np.arange(len(references)),)).intervals(resamples, seed)

    def _drawn(self, predictions: Items, references: Items, ids: NDArray) -> dict[str, float]:
        """Return the numbers of a draw; none where it has too few different answers for the module."""
        try:
            return self.values([predictions[index] for index in ids], [references[index] for index in ids])
        except DistillationError:
            return {}


def load_metrics(
    configs: Sequence[MetricConfig], scoring: Scoring, model: PreTrainedConfig, trusted: Collection[str] = ()
) -> tuple[ExtraMetric, ...]:
    """Load the metrics of `evaluation.metrics` and try each with right answers, such as those of a `model`.

    Only of the `trusted` names of the Hub may Python code run.

    Raises:
        UnreachableError: the Hub did not give one.
        DistillationError: there is no such metric, its code may not run or lacks a package, it cannot be computed of
            what the task predicts, or a figure has the name of another.
    """
    metrics = tuple(ExtraMetric(config, _load(config, trusted)) for config in configs)
    known = {*(figure.name for figure in scoring.figures), *scoring.fidelity}
    for metric in metrics:
        names = metric.values(*scoring.perfect_answers(model)).keys()
        if taken := sorted(names & known):
            raise DistillationError(
                f"the metric {shown(metric.config.name)} gives {taken}, which are measured already. Leave it out."
            )
        known |= names
    return metrics


def _load(config: MetricConfig, trusted: Collection[str]) -> "EvaluationModule":
    path = Path(config.name)
    script = path / f"{path.name}.py" if path.is_dir() else path
    is_here = script.is_file()  # evaluate itself would go on to ask the Hub
    if not is_here and (path.exists() or config.name.startswith((".", "/", "~")) or config.name.count("/") > 1):
        raise DistillationError(
            f"there is no metric {shown(config.name)}: {script} is no file (seen from {Path.cwd()}). A folder of a "
            "metric holds a Python file of its own name."
        )
    if not is_here and config.name not in trusted:
        raise DistillationError(
            f"the metric {shown(config.name)} is Python code of the Hub, which is not run unless you allow it. Read "
            f"that code (https://huggingface.co/spaces), then add {config.name} to trust_remote_code (flag "
            "--trust-remote-code), or name a local folder."
        )
    source = str(script.resolve()) if is_here else config.name
    from evaluate import load  # takes a second to import

    try:
        with TemporaryDirectory() as folder:  # in memory it writes nothing there
            return load(source, config.config_name, keep_in_memory=True, cache_dir=folder, seed=0)
    except Exception as error:  # the code is not ours: anything
        is_absent = not is_here and isinstance(error, FileNotFoundError | ConnectionError)
        raise (UnreachableError if is_absent else DistillationError)(
            f"cannot load the metric {shown(config.name)}: {_said(error)}. It must be an evaluate module, in a local "
            "folder or on the Hub, and the packages that it needs must be installed."
        ) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {shortened(' '.join(str(error).split()), 400)}"
