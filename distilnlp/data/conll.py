"""Files of words with their tags in columns, a word a line and a blank line between sentences (CoNLL)."""

import json
import re
from collections.abc import Iterator
from typing import IO

from distilnlp.errors import DistillationError, shown

ENDINGS = (".conll", ".bio", ".iob")  # of files that are nothing else
TOKENS, TAGS = "tokens", "ner_tags"
TAG = re.compile(r"O|[BIESLUMW][-_]\S+")
DOCUMENT = "-DOCSTART-"
LOOKED_AT = 2000  # lines


def looks_tagged(lines: list[str]) -> bool:
    """Whether lines are words with tags: of as many fields each, the last of them tags of entities."""
    rows = [_fields(line) for line in lines if line.strip() and not _is_beside(line)]
    widths = {len(row) for row in rows}
    is_table = len(rows) > 1 and len(widths) == 1 and widths.pop() > 1
    return is_table and all(TAG.fullmatch(row[-1]) for row in rows) and any(not line.strip() for line in lines)


def write_sentences(lines: Iterator[str], written: IO[str], name: str) -> str:
    """Write a sentence a line, as JSON, and return what is said of the file.

    Args:
        lines: of the file.
        written: what they are written to.
        name: of the file, in messages.

    Raises:
        DistillationError: a line has another number of fields than the first one.
    """
    words: list[str] = []
    tags: list[str] = []
    width = sentences = count = 0
    are_entities = False

    def write() -> None:
        nonlocal sentences, count
        if words:
            json.dump({TOKENS: words, TAGS: tags}, written, ensure_ascii=False)
            written.write("\n")
            sentences, count = sentences + 1, count + len(words)
        words.clear()
        tags.clear()

    for number, line in enumerate(lines, 1):
        if not line.strip():
            write()
            continue
        row = _fields(line)
        if not width and not _is_beside(line):
            width, are_entities = len(row), bool(TAG.fullmatch(row[-1]))
        is_other = len(row) != width or (are_entities and not TAG.fullmatch(row[-1]))
        if row[0] == DOCUMENT or (_is_beside(line) and is_other and not words):
            continue
        if len(row) != width or width < 2:
            raise DistillationError(
                f"line {number} of {name} has {len(row)} fields, {shown(row, 30)}, but expected {max(width, 2)} as "
                "above: a word, perhaps further columns, and its tag, with a blank line between sentences. Mend it."
            )
        words.append(row[0])
        tags.append(row[-1])
    write()
    if not sentences:
        raise DistillationError(f"{name} has no sentence: expected a word and its tag a line. Write it anew.")
    further = f"; the {width - 2} columns between are not read" if width > 2 else ""
    return f"{sentences:,} sentences of {count:,} words, the first column the words and the last the tags{further}"


def _fields(line: str) -> list[str]:
    """Return the fields of a line: between tabs, or between white space where there is none."""
    return [field.strip() for field in line.split("\t")] if "\t" in line.strip() else line.split()


def _is_beside(line: str) -> bool:
    """Whether a line may be a comment, or the beginning of a document, and no word."""
    return line.startswith(("# ", DOCUMENT))
