"""What checks find: errors and warnings, each with its place and its fix."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from distilnlp.errors import DistillationError

logger = logging.getLogger(__name__)

T = TypeVar("T")
Check = Callable[[T], Iterable["Finding"] | None]
MOST = 10  # errors that are told at once


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        level: an error stops a run before it trains anything.
        where: what was checked.
        what: was expected, and what came.
        fix: what to do.
        error: what a run raises, for an error.
    """

    level: Literal["error", "warning"]
    where: str
    what: str
    fix: str = ""
    error: DistillationError | None = None

    @classmethod
    def of(cls, error: DistillationError, where: str) -> "Finding":
        """Return the finding of a check that raised: by convention the last sentence of its message is the fix."""
        what, _, fix = str(error).rpartition(". ")
        return cls("error", where, what or fix, fix if what else "", error)


def findings(checks: Iterable[Check[T]], checked: T) -> Iterator[Finding]:
    """Yield what checks find, one check after the other; the same error, which several meet, once.

    Args:
        checks: each returns its findings, or raises a `DistillationError` at the first error that it meets.
        checked: what they are given.
    """
    told: set[str] = set()
    for check in checks:
        try:
            found = list(check(checked) or ())
        except DistillationError as error:
            found = [Finding.of(error, check.__name__)]
        for finding in found:
            if (text := str(finding.error or finding.what)) not in told:
                told.add(text)
                yield finding


def raise_first(found: Iterable[Finding]) -> None:
    """Raise the first error, and log the warnings before it; nothing is checked after it."""
    for finding in _warned_of(found):
        if finding.error is not None:
            raise finding.error


def raise_all(found: Iterable[Finding]) -> None:
    """Raise all errors as one, numbered if there are several, after all warnings are logged."""
    errors = [finding.error for finding in _warned_of(found) if finding.error is not None]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        lines = [f"{number}. {error}" for number, error in enumerate(errors[:MOST], 1)]
        more = [f"and {len(errors) - MOST} more"] if len(errors) > MOST else []
        raise DistillationError("\n".join([f"{len(errors)} things do not fit:", *lines, *more]))


def _warned_of(found: Iterable[Finding]) -> Iterator[Finding]:
    """Log the warnings as they come, and pass everything on."""
    for finding in found:
        if finding.level == "warning":
            logger.warning("%s", finding.what)
        yield finding
