"""The metrics of a task as `evaluate` modules, which anything that takes such modules can use."""

from collections.abc import Callable
from functools import cache
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from datasets import Features

from distilnlp.metrics.figure import Figure
from distilnlp.metrics.intervals import Scorer

if TYPE_CHECKING:
    from evaluate import Metric, MetricInfo
else:
    Metric = object


class TaskMetric(Metric):
    """An `evaluate` metric that stays in memory: nothing is fetched or written, and no process waits for another.

    Without `keep_in_memory`, evaluate writes predictions to one file of the user's cache that all processes share. It
    becomes a subclass of `evaluate.Metric` with the first instance, for that library takes a second to import.
    """

    figures: ClassVar[tuple[Figure, ...]]  # what it gives, the primary one first; of some inputs perhaps not all
    inputs: ClassVar[Features]  # the types of `predictions` and `references`
    scorer: ClassVar[Callable[..., Scorer]]  # of `(predictions, references)`, if the module is computed by it

    def __new__(cls, **options: Any) -> "TaskMetric":
        """Return an instance that is an `evaluate.Metric` too."""
        kind: Any = cls
        return object.__new__(_as_module(kind))

    def __init__(self, **options: Any) -> None:
        if options.setdefault("keep_in_memory", True):
            # evaluate makes an empty cache folder all the same, which fails where the home folder is read-only.
            with TemporaryDirectory() as folder:
                super().__init__(**{"cache_dir": folder, **options})
        else:
            super().__init__(**options)

    @property
    def primary(self) -> str:
        """The name of the figure that tells most."""
        return self.figures[0].name

    @property
    def higher_is_better(self) -> bool:
        """The direction of the primary figure."""
        return self.figures[0].higher_is_better

    def _info(self) -> "MetricInfo":
        from evaluate import MetricInfo

        return MetricInfo(description=type(self).__doc__, citation="", features=self.inputs)

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return self.scorer(predictions, references).values()


@cache
def _as_module(metric: type[TaskMetric]) -> type[TaskMetric]:
    """Return a metric as a subclass of `evaluate.Metric`, which one that is it already stays."""
    from evaluate import Metric as OfEvaluate

    if issubclass(metric, OfEvaluate):
        return metric
    return type(metric.__name__, (metric, OfEvaluate), {"__doc__": metric.__doc__, "__module__": metric.__module__})
