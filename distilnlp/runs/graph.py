"""What is asked for on demand: the steps of a run, each made only if it must be, and the parts of its plan."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from accelerate.utils import broadcast_object_list

from distilnlp.errors import DistillationError
from distilnlp.runs.stages import Stage

T = TypeVar("T")


@dataclass(eq=False)
class Step:
    """One step of a run: its key, which says what goes into it, and how it is made.

    Nothing that goes into a step is loaded, tokenised or hashed before the step is asked for, and nothing that only its
    making needs before it must be made: a step that is up to date asks no other.

    Attributes:
        run_folder: of the run.
        name: of the step, in records.
        title: of the step, in messages.
        output: the folder or file in the run's folder that it makes.
        key: returns all that goes into it, as JSON values; what other steps make is in there by their `digest`.
        make: `(work folder) -> ` what it made there.
        needs: returns the steps whose results the making reads; they are made before it, if it must be made.
        find_damage: see `Stage`.
    """

    run_folder: Path
    name: str
    title: str
    output: str
    key: Callable[[], Mapping[str, Any]]
    make: Callable[[Path], Path]
    needs: Callable[[], Iterable["Step"]] = tuple
    find_damage: Callable[[Path], list[str]] | None = None

    @cached_property
    def stage(self) -> Stage:
        """The step's record in the run's folder."""
        return Stage(self.run_folder, self.name, self.output, self.key(), self.title, find_damage=self.find_damage)

    @property
    def digest(self) -> str:
        """A short hash of the key, by which the keys of other steps name this one."""
        return self.stage.digest

    @cached_property
    def result(self) -> Path:
        """The finished output, made now unless it is up to date; every process of a run asks for the same ones."""
        if not self.is_up_to_date:
            for step in self.needs():
                _ = step.result
        return self.stage.run(self.make)

    @cached_property
    def content(self) -> str:
        """A short hash of the finished output, which is made now unless it is up to date."""
        _ = self.result
        return self.stage.content

    @property
    def was_asked(self) -> bool:
        """Whether anybody has asked for the result."""
        return "result" in vars(self)

    @property
    def is_up_to_date(self) -> bool:
        """Whether the finished output is whole and of the same key; the same on every process."""
        return broadcast_object_list([self.stage.state.is_main_process and self.stage.is_reusable])[0]


Reference = str | Step  # of a model: its folder, its Hub id, or the step that makes it


def folder_of(model: Reference) -> Path | str:
    """Return where a model lies: a path if a step made it, which it does now unless that is up to date."""
    return model.result if isinstance(model, Step) else model


# ---- Parts of a plan ----


class settled(cached_property[T]):
    """A cached property that, where it cannot be, fails the same way each time, without trying again."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        failures = vars(instance).setdefault("_failures", {})
        if self.attrname in failures:
            raise failures[self.attrname]
        try:
            return super().__get__(instance, owner)
        except DistillationError as error:
            failures[self.attrname] = error
            raise
