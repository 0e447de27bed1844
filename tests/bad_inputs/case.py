"""One bad input: what is given to the command, and what must come of it."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Content = str | bytes | Callable[[Path], None]  # of a file, or what makes it at its path
REFUSED, DONE = 2, 0
MODEL = re.compile(r"@(\w+)")  # stands for the folder of a model of `tests.bad_inputs.models`
PLAN = re.compile(r"^(?:train|test) +([\d,]+) rows", re.MULTILINE)
DEFAULTS: Mapping[str, Any] = {"teacher.model": "@teacher", "data.source": "train.csv", "output": "out"}
TOPICS = ("film", "money", "sport")


def table(count: int = 24, sep: str = ",", header: str | None = None, labels: Sequence[str] = TOPICS) -> str:
    """Rows of a text and a label, each text another one; the labels take turns."""
    rows = [f"the film {index} was a match{sep}{labels[index % len(labels)]}" for index in range(count)]
    return "\n".join([f"text{sep}label" if header is None else header, *rows]) + "\n"


def lines(*rows: Any) -> str:
    """JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


GOOD: Mapping[str, Content] = {"train.csv": table()}


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes:
        name: says what is wrong, in words of its own.
        message: what the error or the warning must match, in any case, over line breaks; empty = nothing is said of it.
        keys: of the recipe, by dotted name, given as flags; over `DEFAULTS`, of which None takes one away.
        files: by name, in the folder where the command runs; over `GOOD`.
        words: further words of the command line.
        argv: the whole command line, in place of keys and words.
        status: what the command ends with.
        rows: in training and test together, which the plan must tell of; None = it need not.
        or_read: the rows, if the input may be read as well, and then right.
        plan: what the plan must match.
    """

    name: str
    message: str = ""
    keys: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Content] = field(default_factory=dict)
    words: Sequence[str] = ()
    argv: Sequence[str] | None = None
    status: int = REFUSED
    rows: int | None = None
    or_read: int | None = None
    plan: str = ""

    def command(self) -> list[str]:
        """The command line, with `@name` for the folders of models."""
        if self.argv is not None:
            return list(self.argv)
        recipe = ["recipe.yaml"] if "recipe.yaml" in self.files else []
        keys = {**({} if recipe else DEFAULTS), **self.keys}
        flags = [f"--{key}={_written(value)}" for key, value in keys.items() if value is not None]
        return ["distill", *recipe, *flags, "--dry-run", *self.words]

    def write(self, folder: Path) -> None:
        """Write the files."""
        for name, content in {**GOOD, **self.files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content, encoding="utf-8")


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def refused(name: str, message: str, keys: Mapping[str, Any] | None = None, **options: Any) -> Case:
    """An input that is refused, with this said."""
    return Case(name, message, keys or {}, **options)


def read(name: str, rows: int | None, keys: Mapping[str, Any] | None = None, **options: Any) -> Case:
    """An input that looks wrong and is read right, with so many rows."""
    return Case(name, options.pop("message", ""), keys or {}, status=DONE, rows=rows, **options)


def file(name: str, content: Content, message: str | None = None, rows: int | None = None, **options: Any) -> Case:
    """A file of data, named by `source`: refused with a message, read with so many rows, or either (`or_read`)."""
    source = options.pop("source", "data.csv")
    keys = {"data.source": source, **options.pop("keys", {})}
    files = {source: content, **options.pop("files", {})}
    if rows is None:
        return refused(name, message or "", keys, files=files, **options)
    return read(name, rows, keys, files=files, message=message or "", **options)


def each(message: str, keys: Iterable[tuple[str, Any]], **options: Any) -> list[Case]:
    """One refusal for each key and value; the message has `{key}` for the last part of the key."""
    return [
        refused(
            f"{key} = {value!r:.40}", message.format(key=re.escape(key.rpartition(".")[2])), {key: value}, **options
        )
        for key, value in keys
    ]
