"""How a delimited file is written, told from its first rows: what separates fields, the decimal mark, the header."""

import csv
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from distilnlp.data.plain_copies import FileForm
from distilnlp.errors import DistillationError, shown

logger = logging.getLogger(__name__)

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
TEXT: dict[str, Any] = {"newline": "", "encoding": "utf-8-sig"}  # how a delimited file is opened
SAMPLE = 100  # rows that are looked at
# Headers have these names, whatever stands below them.
LONGEST_NAME = 100  # characters of the name of a column
USUAL_NAMES = frozenset(
    ["id", "idx", "index", "text", "text_a", "text_b", "sentence", "sentence1", "sentence2", "label", "labels"]
)
DECIMAL_COMMA, NUMBER = re.compile(r"-?\d+,\d+"), re.compile(r"-?\d+(,\d+)?")


@dataclass(frozen=True)
class Dialect:
    """What separates the fields of a file, and its decimal mark."""

    delimiter: str
    decimal: str = "."


def find_dialect(path: Path, form: FileForm) -> Dialect:
    """Return the dialect of a file: what is said of it, or the one delimiter that cuts all its first rows alike.

    Raises:
        DistillationError: several delimiters do, the first line is a comment, or there is no header.
    """
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    names = [] if form.column_names is None else [list(form.column_names)]
    asked = dict.fromkeys([form.delimiter or usual, *DELIMITERS])
    samples = {delimiter: [*names, *_sample(path, delimiter)] for delimiter in asked}
    delimiter = form.delimiter or _delimiter(path, usual, samples)
    rows = samples[delimiter]
    if not rows:
        return Dialect(delimiter)
    if form.column_names is None:
        _refuse_comment(path, rows, samples)
        _refuse_data_as_header(path, rows, delimiter)
    columns = list(zip(*rows[1:], strict=False))
    has_commas = delimiter != "," and any(_are_decimal_commas(column) for column in columns)
    dialect = Dialect(delimiter, "," if has_commas else ".")
    if dialect != Dialect(usual):
        decimal = ", the decimal mark is a comma" if has_commas else ""
        logger.info("%s: fields are separated by %s%s", path, DELIMITERS.get(delimiter, shown(delimiter)), decimal)
    return dialect


def _sample(path: Path, delimiter: str) -> list[list[str]]:
    """Return the first rows that are not blank, without the last one if the file goes on: it may be cut."""
    try:
        with path.open(**TEXT) as lines:
            rules: dict[str, Any] = {"quoting": csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL}
            rows = list(islice(csv.reader(lines, delimiter=delimiter, **rules), SAMPLE))
    except (UnicodeDecodeError, csv.Error):  # said by the reader
        return []
    return [row for row in rows if any(map(str.strip, row))]


def _delimiter(path: Path, usual: str, samples: dict[str, list[list[str]]]) -> str:
    cuts = [delimiter for delimiter, rows in samples.items() if rows and max(map(len, rows)) > 1 and len(rows[0]) > 1]
    fitting = [
        delimiter for delimiter in cuts if {len(row) for row in samples[delimiter]} == {len(samples[delimiter][0])}
    ]
    if len(fitting) > 1:
        raise DistillationError(
            f"the fields of {path} may be separated by {' or by '.join(DELIMITERS[each] for each in fitting)}: each "
            f"cuts all rows alike. Set data.delimiter to {' or '.join(map(repr, fitting))}."
        )
    # A header that the usual delimiter cuts is meant so: rows that do not fit it are told one by one.
    return usual if usual in cuts else [*fitting, *cuts, usual][0]


def _refuse_comment(path: Path, rows: Sequence[Sequence[str]], samples: dict[str, list[list[str]]]) -> None:
    widths = [{len(row) for row in each[1:]} for each in samples.values()]
    below = max((width for found in widths if len(found) == 1 for width in found), default=1)
    is_alone = len(rows[0]) == 1 and below > 1 and len(rows) > 2
    if rows[0][0].startswith("#") and is_alone:
        raise DistillationError(
            f"line 1 of {path}, {shown(rows[0][0], 60)}, is a comment, but column names are expected there: "
            f"the lines below it have {below} fields. Remove that line."
        )


def _refuse_data_as_header(path: Path, rows: Sequence[Sequence[str]], delimiter: str) -> None:
    header, columns = rows[0], list(zip(*rows[1:], strict=False))
    if {name.strip().lower() for name in header} & USUAL_NAMES:
        return
    for name, column in zip(header, columns, strict=False):
        if name.strip() and (name in column or len(name) > LONGEST_NAME):
            raise DistillationError(
                f"{path} seems to have no header: its first line, {shown(list(header), 30)}, looks like data. Put the "
                "names of the columns into a first line, such as 'text,label', or give them as data.column_names."
            )


def _are_decimal_commas(column: Sequence[str]) -> bool:
    cells = [cell.strip() for cell in column if cell.strip()]
    return any(map(DECIMAL_COMMA.fullmatch, cells)) and all(map(NUMBER.fullmatch, cells))
