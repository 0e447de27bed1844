"""What the datasets library cannot be trusted with in CSV, TSV and JSON: rows that do not fit, and types of columns."""

import csv
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from types import NoneType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from distilnlp.data.dialect import DELIMITERS, TEXT, find_dialect
from distilnlp.data.plain_copies import FileForm
from distilnlp.errors import DistillationError, shown

logger = logging.getLogger(__name__)

BLOCK = 10 << 20  # bytes: what is in memory at a time, and the library's own blocks of JSON
ROWS = 10_000  # of a CSV file: what is in memory at a time, and the library's own blocks
LONGEST_FIELD = 2**31 - 1  # characters; the csv module stops at 131,072
# Only an empty cell is a missing value: "None" and "NA" may be labels or texts. And no column is an index: for it all
# cells of rows with one field too many would move to the column before their own.
READ_CSV: dict[str, Any] = {"keep_default_na": False, "na_values": [""], "index_col": False}
NULL_LINE = re.compile(rb"\n[ \t\r]*null[ \t\r]*(?=\n|$)")  # a tenth of the time that ^ takes


# ---- CSV and TSV: no row is shifted, padded or swallowed by another ----


def csv_options(paths: Sequence[Path], form: FileForm) -> dict[str, Any]:
    """Return how pandas reads the files of one split, all of which have been checked.

    In tab-separated files a quotation mark is a character like any other, unless every file is quoted throughout.

    Raises:
        DistillationError: two columns have one name, a row has more or fewer fields than the header, a quotation
            mark swallows lines, or what separates fields is not clear or not the same in all files.
    """
    dialects = {path: find_dialect(path, form) for path in paths}
    delimiter, *others = dict.fromkeys(dialect.delimiter for dialect in dialects.values())
    if others:
        raise DistillationError(
            f"the files of one split must be written alike, but {paths[0]} separates fields by "
            f"{DELIMITERS[delimiter]}, and another of them by {DELIMITERS[others[0]]}. Rewrite one of them."
        )
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        quotes = delimiter != "\t" or all(map(_is_quoted, paths))
        rules: dict[str, Any] = {"delimiter": delimiter, "quoting": csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE}
        for path in paths:
            names = list(form.column_names or _first_row(path, rules))
            twice = [name for name, count in Counter(names).items() if name and count > 1]
            if twice:
                raise DistillationError(
                    f"the header of {path} names the column {shown(twice[0])} twice. Rename one of them."
                )
            fits = form.column_names is None or len(_first_row(path, rules)) == len(names)
            count = (fits and _count_quickly(path, delimiter, quotes)) or _count_carefully(path, rules, form)
            if quotes and _has_quotes(path):
                _compare_with_lines(path, count, rules)
    finally:
        csv.field_size_limit(before)
    named = {} if form.column_names is None else {"names": list(form.column_names), "header": None}
    decimal = "," if any(dialect.decimal == "," for dialect in dialects.values()) else "."
    return {**READ_CSV, **rules, "decimal": decimal, **named}


def _first_row(path: Path, rules: dict[str, Any]) -> list[str]:
    try:
        with path.open(**TEXT) as lines:
            return next(csv.reader(lines, **rules), [])
    except UnicodeDecodeError:  # in another encoding: the reader says so
        return []


def _is_quoted(path: Path) -> bool:
    """Whether the fields of a tab-separated file are quoted where they must be, and a quotation mark is never text."""
    if not _has_quotes(path):
        return True
    with path.open(**TEXT) as lines:
        rows = csv.reader(lines, delimiter="\t", strict=True)
        try:
            widths = Counter(map(len, rows))
        except csv.Error:
            return False
        rows_are_lines = widths.total() == rows.line_num
    # Where every line is a row by itself, marks that hold several lines together are none.
    return len(widths.keys() - {0}) == 1 and (rows_are_lines or not _count_quickly(path, "\t", False))


def _count_quickly(path: Path, delimiter: str, quotes: bool) -> int | None:
    """Return the number of rows, with the header, if all have as many fields; None if some have not."""
    try:
        blocks = pa.csv.open_csv(
            path,
            pa.csv.ReadOptions(block_size=BLOCK, autogenerate_column_names=True),
            pa.csv.ParseOptions(delimiter=delimiter, quote_char='"' if quotes else False, newlines_in_values=quotes),
            # Only the first column is made, of bytes: this is about the fields, not what they hold.
            pa.csv.ConvertOptions(check_utf8=False, include_columns=["f0"], column_types={"f0": pa.binary()}),
        )
        return sum(block.num_rows for block in blocks)
    except pa.ArrowInvalid:
        return None


def _count_carefully(path: Path, rules: dict[str, Any], form: FileForm) -> int:
    """Return the number of rows, with the header.

    Every row may end in the same number of further delimiters: these separate nothing.

    Raises:
        DistillationError: a row has more or fewer fields than the header.
    """
    header = list(form.column_names or ())
    count, expected, line = len(header[:1]), 0, 1
    with path.open(**TEXT) as lines:
        rows = csv.reader(lines, **rules)
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


def _wrong_number(
    path: Path, line: int, row: list[str], header: list[str], expected: int, rules: dict[str, Any]
) -> str:
    separator = DELIMITERS.get(rules["delimiter"], "delimiters").removesuffix("s").replace("bars", "bar")
    quotes = rules["quoting"] == csv.QUOTE_MINIMAL
    other = f"the header has {len(header)}: {shown(header, 30)}"
    if len(row) > len(header):
        fix = (
            f"Put a text that holds a {separator} in quotation marks." if quotes else "Put a space for a tab in a text."
        )
    elif expected > len(header):
        other = f"the rows above have {expected}, the last of them empty"
        fix = f"End every line with a {separator}, or none."
    else:
        lines = ", and put a text of several lines in quotation marks" if quotes else ""
        fix = f"End a row that lacks a value with a {separator}{lines}."
    fields = f"{len(row)} field{'s' * (len(row) != 1)}"
    return f"line {line} of {path} has {fields}, {shown(row, 30)}, but {other}. {fix}"


def _compare_with_lines(path: Path, rows: int, rules: dict[str, Any]) -> None:
    """Say that there are fewer rows than lines, which long texts explain, or refuse marks that only seem to quote."""
    with path.open("rb") as file:
        lines = sum(map(bool, map(bytes.strip, file)))  # that are not blank
    if lines <= rows:
        return
    with path.open(**TEXT) as text:
        strict, first = csv.reader(text, **rules, strict=True), 1
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


def types_of_csv(paths: Sequence[Path], options: dict[str, Any]) -> dict[str, pa.DataType]:
    """Return the type of each column over all rows: that of its numbers or truth values, or else string."""
    types: dict[str, pa.DataType] = {}
    for path in paths:
        for rows in pd.read_csv(path, chunksize=ROWS, low_memory=False, **options):
            for name, dtype in rows.dtypes.items():
                found = pa.from_numpy_dtype(dtype) if dtype.kind in "biuf" else pa.string()
                types[name] = _common_type(types.get(name, found), found) or pa.string()
    return types


# ---- JSON: what would kill the library's reader, and columns of several types ----


def refuse_null_rows(path: Path) -> None:
    """Raise a `DistillationError` if a row of JSON lines is `null`, of which the reader's process would die."""
    lines = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK) + file.readline():
            if not lines and not _are_lines(block):
                return
            if found := NULL_LINE.search(b"\n" + block):
                line = lines + block.count(b"\n", 0, found.start()) + 1
                raise DistillationError(
                    f"line {line} of {path} is null, but every line must be an object, such as "
                    '{"text": "…", "label": "…"}. Remove it.'
                )
            lines += block.count(b"\n")


def _are_lines(block: bytes) -> bool:
    """Whether a file that begins like this has one value a line, and none that goes over lines."""
    first, _, _ = block.strip().partition(b"\n")
    try:
        return not first.startswith(b"[") and isinstance(json.loads(first), dict | NoneType)
    except ValueError:
        return False


def types_of_json(paths: Sequence[Path]) -> dict[str, pa.DataType]:
    """Return the type of each column over all rows.

    Raises:
        DistillationError: no type holds all values of a column.
    """
    types: dict[str, pa.DataType] = {}
    for path in paths:
        first = 0
        for block in _json_blocks(path):
            try:
                rows = pa.json.read_json(BytesIO(block), pa.json.ReadOptions(block_size=len(block)))
            except pa.ArrowInvalid as error:
                found = re.search(r"Column\(/(.+)\) changed from (\w+) to (\w+) in row (\d+)", str(error))
                if found is None:
                    raise
                name, known, other, row = found.groups()
                raise _several_types(path, name, known, other, first + int(row)) from error
            for name, column in zip(rows.column_names, rows.columns, strict=True):
                known = types.get(name, column.type)
                common = _common_type(known, column.type)
                if common is None:
                    row = first + pc.index(pc.is_valid(column), True).as_py()
                    raise _several_types(path, name, known, column.type, row)
                types[name] = common
            first += len(rows)
    return types


def _json_blocks(path: Path) -> Iterator[bytes]:
    """Yield whole lines of JSON, one a row; a list, which may hold line breaks anywhere, is one block."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if block.startswith(b"["):
                yield "\n".join(map(json.dumps, json.loads(block + file.read()))).encode()
            else:
                yield block + file.readline()


def _several_types(path: Path, name: str, known: Any, other: Any, row: int) -> DistillationError:
    return DistillationError(
        f"the column {name!r} of {path} holds values of several types: {known}, and {other} first at row {row} "
        "(counted from 0). Give all its values one type, such as text in quotation marks."
    )


def _common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """Return the type that holds both, at any depth: of null and another, or of whole numbers and fractions."""
    schemas = [pa.schema({"": kind}) for kind in (first, second)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return None
