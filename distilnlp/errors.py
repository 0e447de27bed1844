"""The errors that a user of distilnlp sees. Each message says what was expected, what came, and the fix."""

import difflib
from collections.abc import Iterable
from typing import Any


class DistillationError(ValueError):
    """Something that the user gave cannot be distilled as it stands: a recipe, a model, a data set or an option."""


class UnreachableError(DistillationError):
    """A model or data set that is not on this machine and that the Hub did not give."""


class NotKeptError(DistillationError):
    """A teacher's answers cannot be kept on disk; the teacher itself can be asked all the same."""


class NonFiniteLossError(FloatingPointError):
    """A component of the objective became NaN or infinite; the message names the component and the step."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the known name nearest to `name`, or an empty string if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def shown(value: Any, limit: int = 80) -> str:
    """Return how a message quotes a value: its `repr` cut after `limit` characters, of a long list the first entries.

    What a user's data holds may be a whole article, or 20,000 names: with this a message stays readable.
    """
    if not isinstance(value, list | tuple):
        text = repr(value)
        return text if len(text) <= limit else f"{text[:limit]}…"
    entries: list[str] = []
    while len(entries) < len(value) and sum(map(len, entries)) < 4 * limit:
        entries.append(shown(value[len(entries)], limit))
    left = len(value) - len(entries)
    return f"[{', '.join(entries)}{f', … and {left:,} more' if left else ''}]"
