"""The errors that a user of distilnlp sees. Each message says what was expected, what came, and the fix."""

import difflib
from collections.abc import Iterable


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
