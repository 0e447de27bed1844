"""A recipe as a person would write it: every key with a comment why, and further keys as comments."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from distilnlp.recipe.text import write_yaml

WIDTH = 100
INDENT = "  "


@dataclass(frozen=True)
class Entry:
    """A key of a recipe.

    Attributes:
        key: dotted, of at most one section.
        value: what it is set to.
        why: the comment above it.
        is_set: whether it is set, or written as a comment, for the reader to set.
    """

    key: str
    value: object
    why: str
    is_set: bool = True


def commented_yaml(head: Iterable[str], entries: Iterable[Entry]) -> str:
    """Return YAML that says what the entries that are set do.

    Args:
        head: paragraphs at the top.
        entries: in order; those of a section need not be neighbours.
    """
    sections: dict[str, list[Entry]] = {}
    for entry in entries:
        section = entry.key.rpartition(".")[0]
        sections.setdefault(section or entry.key, []).append(entry)
    parts = ["\n".join(_comment(paragraph) for paragraph in head)]
    for name, own in sections.items():
        if "." not in own[0].key:
            parts.append(_written(own[0], ""))
            continue
        mark = "" if any(entry.is_set for entry in own) else "# "
        parts.append("\n".join([f"{mark}{name}:", *(_written(entry, INDENT) for entry in own)]))
    return "\n\n".join(parts) + "\n"


def _comment(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _written(entry: Entry, indent: str) -> str:
    lines = write_yaml({entry.key.rpartition(".")[2]: entry.value}).splitlines()
    mark = "" if entry.is_set else "# "
    return "\n".join([_comment(entry.why, indent), *(f"{indent}{mark}{line}" for line in lines)])
