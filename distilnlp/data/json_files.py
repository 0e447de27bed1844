"""JSON before the datasets library reads it: what would kill it, and the type of each column over all rows."""

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from distilnlp.errors import DistillationError

BYTES = 10 << 20  # what is in memory at a time, and the library's own blocks
NULL_LINE = re.compile(rb"\n[ \t\r]*null[ \t\r]*(?=\n|$)")  # a tenth of the time that ^ takes


def refuse_null_rows(path: Path) -> None:
    """Raise a `DistillationError` if a row of JSON lines is `null`, which would kill the reader's process."""
    lines = 0
    with path.open("rb") as file:
        while block := file.read(BYTES) + file.readline():
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


def types_of_json(paths: list[Path]) -> dict[str, pa.DataType]:
    """Return the type of each column over all rows."""
    types: dict[str, pa.DataType] = {}
    for path in paths:
        first = 0
        for block in _blocks(path):
            rows = _read_json(block, path, first)
            for name, column in zip(rows.column_names, rows.columns, strict=True):
                known = types.get(name, column.type)
                common = common_type(known, column.type)
                if common is None:
                    row = first + pc.index(pc.is_valid(column), True).as_py()
                    raise DistillationError(_several_types(path, name, known, column.type, row))
                types[name] = common
            first += len(rows)
    return types


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield whole lines of JSON, one a row; a list, which may hold line breaks anywhere, is one block."""
    with path.open("rb") as file:
        while block := file.read(BYTES):
            if block.startswith(b"["):
                yield "\n".join(map(json.dumps, json.loads(block + file.read()))).encode()
            else:
                yield block + file.readline()


def _read_json(block: bytes, path: Path, first: int) -> pa.Table:
    try:
        return pa.json.read_json(BytesIO(block), pa.json.ReadOptions(block_size=len(block)))
    except pa.ArrowInvalid as error:
        found = re.search(r"Column\(/(.+)\) changed from (\w+) to (\w+) in row (\d+)", str(error))
        if found is None:
            raise
        name, known, other, row = found.groups()
        raise DistillationError(_several_types(path, name, known, other, first + int(row))) from error


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """Return the type that holds both, at any depth: of null and another, or of whole numbers and fractions."""
    schemas = [pa.schema({"": kind}) for kind in (first, second)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return None


def _several_types(path: Path, name: str, known: Any, other: Any, row: int) -> str:
    return (
        f"the column {name!r} of {path} holds values of several types: {known}, and {other} first at row {row} "
        "(counted from 0). Give all its values one type, such as text in quotation marks."
    )
