"""Check CSV and TSV files before they are read: no row is shifted, padded or swallowed by another."""

import csv
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from distilnlp.errors import DistillationError, shown

logger = logging.getLogger(__name__)

BLOCK = 10 << 20  # bytes: what is in memory at a time
LONGEST_FIELD = 2**31 - 1  # characters; the csv module stops at 131,072
# Only an empty cell is a missing value: "None" and "NA" may be labels or texts. And no column is an index: for it all
# cells of rows with one field too many would move to the column before their own.
READ_CSV: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "index_col": False}


@dataclass(frozen=True)
class _Rules:
    """What separates fields, and whether a quotation mark can hold them together."""

    delimiter: str
    quotes: bool

    @property
    def of_csv(self) -> dict[str, Any]:
        """As the csv module and pandas call them."""
        return {"delimiter": self.delimiter, "quoting": csv.QUOTE_MINIMAL if self.quotes else csv.QUOTE_NONE}


def reading_options(paths: Sequence[Path], delimiter: str) -> dict[str, Any]:
    """Return how pandas reads the files of one split, all of which have been checked.

    In tab-separated files a quotation mark is a character like any other, unless every file is quoted throughout.

    Raises:
        DistillationError: two columns have one name, a row has more or fewer fields than the header, or a quotation
            mark swallows lines.
    """
    rules = _Rules(delimiter, delimiter != "\t" or all(map(_is_quoted, paths)))
    for path in paths:
        _check_header(path, rules)
        rows = _count_rows(path, rules)
        if rules.quotes and _has_quotes(path):
            _compare(path, _count_lines(path), rows, rules)
    return {**READ_CSV, **rules.of_csv}


def _is_quoted(path: Path) -> bool:
    """Whether the fields of a tab-separated file are quoted where they must be, and a quotation mark is never text."""
    if not _has_quotes(path):
        return True
    with _lines(path) as lines:
        rows = csv.reader(lines, **_Rules("\t", True).of_csv, strict=True)
        try:
            widths = Counter(map(len, rows))
        except csv.Error:
            return False
        rows_are_lines = widths.total() == rows.line_num
    # Where every line is a row by itself, marks that hold several lines together are none.
    return len(widths.keys() - {0}) == 1 and (rows_are_lines or not _count_quickly(path, _Rules("\t", False)))


def _check_header(path: Path, rules: _Rules) -> None:
    try:
        with _lines(path) as lines:
            names = next(csv.reader(lines, **rules.of_csv), [])
    except UnicodeDecodeError:  # compressed, or in another encoding: the library reads it or says so
        return
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DistillationError(f"the header of {path} names the column {shown(twice[0])} twice. Rename one of them.")


def _count_rows(path: Path, rules: _Rules) -> int:
    """Return the number of rows, with the header."""
    return _count_quickly(path, rules) or _count_carefully(path, rules)


def _count_quickly(path: Path, rules: _Rules) -> int | None:
    """Return the number of rows, with the header, if all have as many fields; None if some have not."""
    try:
        blocks = pa.csv.open_csv(
            path,
            pa.csv.ReadOptions(block_size=BLOCK, autogenerate_column_names=True),
            pa.csv.ParseOptions(
                delimiter=rules.delimiter, quote_char='"' if rules.quotes else False, newlines_in_values=rules.quotes
            ),
            # Only the first column is made, of bytes: this is about the fields, not what they hold.
            pa.csv.ConvertOptions(check_utf8=False, include_columns=["f0"], column_types={"f0": pa.binary()}),
        )
        return sum(block.num_rows for block in blocks)
    except pa.ArrowInvalid:
        return None


def _count_carefully(path: Path, rules: _Rules) -> int:
    """Return the number of rows, with the header.

    Every row may end in the same number of further delimiters: these separate nothing.

    Raises:
        DistillationError: a row has more or fewer fields than the header.
    """
    header: list[str] = []
    count, expected, line = 0, 0, 1
    with _lines(path) as lines:
        rows = csv.reader(lines, **rules.of_csv)
        for row in rows:
            if len(row) > 1 or any(map(str.strip, row)):  # pandas leaves blank lines out as well
                count += 1
                if count == 1:
                    header = row
                elif count == 2:
                    expected = len(header) if any(row[len(header) :]) else max(len(header), len(row))
                if count > 1 and (len(row) != expected or any(row[len(header) :])):
                    raise DistillationError(_wrong_number(path, line, row, header, expected, rules))
            line = rows.line_num + 1
    return count


def _wrong_number(path: Path, line: int, row: list[str], header: list[str], expected: int, rules: _Rules) -> str:
    separator = "tab" if rules.delimiter == "\t" else "comma"
    other = f"the header has {len(header)}: {shown(header, 30)}"
    if len(row) > len(header):
        fix = (
            "Put a text that holds a comma in quotation marks." if rules.quotes else "Put a space for a tab in a text."
        )
    elif expected > len(header):
        other = f"the rows above have {expected}, the last of them empty"
        fix = f"End every line with a {separator}, or none."
    else:
        lines = ", and put a text of several lines in quotation marks" if rules.quotes else ""
        fix = f"End a row that lacks a value with a {separator}{lines}."
    fields = f"{len(row)} field{'s' * (len(row) != 1)}"
    return f"line {line} of {path} has {fields}, {shown(row, 30)}, but {other}. {fix}"


def _compare(path: Path, lines: int, rows: int, rules: _Rules) -> None:
    """Say that there are fewer rows than lines, which long texts explain, or refuse marks that only seem to quote."""
    if lines <= rows:
        return
    with _lines(path) as text:
        strict, first = csv.reader(text, **rules.of_csv, strict=True), 1
        while True:
            try:
                next(strict)
            except StopIteration:
                break
            except csv.Error:
                if strict.line_num > first:  # else it is a mark within one line, which does no harm
                    raise DistillationError(
                        f"a quotation mark in line {first} of {path} swallows what follows it, up to line "
                        f"{strict.line_num}. Put a text that holds a quotation mark in quotation marks, and double "
                        'the mark in it: "".'
                    ) from None
            first = strict.line_num + 1
    logger.warning(
        "%s: %d lines below the header make %d rows, for quoted texts go over lines", path, lines - 1, rows - 1
    )


def _has_quotes(path: Path) -> bool:
    with path.open("rb") as file:
        return any(b'"' in block for block in iter(lambda: file.read(BLOCK), b""))


def _count_lines(path: Path) -> int:
    """Return the number of lines that are not blank."""
    with path.open("rb") as file:
        return sum(map(bool, map(bytes.strip, file)))


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield file
    finally:
        csv.field_size_limit(before)
