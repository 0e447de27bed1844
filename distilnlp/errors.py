"""The errors that a user of distilnlp sees. Each message says what was expected, what came, and the fix."""

import difflib
import re
from collections.abc import Iterable

LONGEST_MESSAGE = 2000  # characters; libraries put whole files and lists of all their models into theirs
# Tokens of the Hub and of others by how they begin and how long they are, for names of models and files begin so too;
# what stands before the @ of a URL; a URL's signed parameters.
SECRET = re.compile(
    r"\b(?:hf_|api_org_)[A-Za-z0-9]{30,}|\bghp_[A-Za-z0-9]{36}|\bgithub_pat_\w{82}"
    r"|\bsk-[A-Za-z0-9_-]{0,64}[A-Za-z0-9]{20,}[A-Za-z0-9_-]*"
    r"|(?<=://)[^/\s@'\"]+(?=@)"
    r"|(?<=[?&])[\w-]*(?:token|secret|signature|password|apikey|api_key)=[^&\s'\"]+",
    re.IGNORECASE,
)


class DistillationError(ValueError):
    """Something that the user gave cannot be distilled as it stands: a recipe, a model, a data set or an option.

    Args:
        message: it is cut to a length that can be read, holds no tokens and passwords, and ends its sentences with one
            full stop where the text of another error was put before one.
    """

    def __init__(self, message: str) -> None:
        text = redacted(shortened(message, LONGEST_MESSAGE))
        super().__init__(re.sub(r"(?<=[\w'\")\]`])\.\.(?=\s|$)", ".", text))


class UnreachableError(DistillationError):
    """A model or data set that is not on this machine and that the Hub did not give."""


class NoLabelsError(DistillationError):
    """None of the rows that are to be measured on has a label."""


class NotKeptError(DistillationError):
    """A teacher's answers cannot be kept on disk; the teacher itself can be asked all the same."""


class NonFiniteLossError(FloatingPointError):
    """A component of the objective became NaN or infinite; the message names the component and the step."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the known name nearest to `name`, or an empty string if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def shown(value: object, limit: int = 200) -> str:
    """Return a value as a message quotes it: its `repr` without the middle if it is long, of a long list the first.

    What a user's data holds may be a whole article, or 20,000 names: with this a message stays readable.
    """
    if not isinstance(value, list | tuple):
        return shortened(repr(value), limit)
    entries: list[str] = []
    while len(entries) < len(value) and sum(map(len, entries)) < 2 * limit:
        entries.append(shown(value[len(entries)], limit))
    left = len(value) - len(entries)
    return f"[{', '.join(entries)}{f', … and {left:,} more' if left else ''}]"


def shortened(text: str, limit: int) -> str:
    """Return a text without its middle if it is longer than a limit: begin and end tell most."""
    return text if len(text) <= limit else f"{text[: limit * 2 // 3]} … {text[-limit // 4 :]}"


def redacted(text: str) -> str:
    """Return a text without the tokens and passwords in it."""
    return SECRET.sub("***", text)
