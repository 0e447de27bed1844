"""Parts of an object that are settled when they are first asked for."""

from functools import cached_property
from typing import Any, TypeVar

from distilnlp.errors import DistillationError

T = TypeVar("T")


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
