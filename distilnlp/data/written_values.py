"""Lists and objects that a column of text holds as JSON or Python writes them, as in a CSV file that pandas wrote."""

import ast
import json
import logging
import re
import tokenize
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import StringIO
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, concatenate_datasets
from datasets.features.features import generate_from_arrow_type

from distilnlp.data.parts import Columns, Part, read_in_parts, values_of
from distilnlp.errors import DistillationError, shown

logger = logging.getLogger(__name__)

CLOSE_QUOTES = re.compile(r"""['"]\s*['"]""")  # as between neighbours; the tokens tell whether they are
BRACKETS = (("[", "]"), ("{", "}"))
LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def with_columns(
    dataset: Dataset, features: Mapping[str, Any], sources: Sequence[str], read: Callable[[Part], Columns], desc: str
) -> Dataset:
    """Return a data set with columns that are read of others, in place of those of the same names; in parts.

    Args:
        dataset: the rows.
        features: the types of the columns, by name.
        sources: the columns that they are read of.
        read: what the columns hold for some rows.
        desc: caption of the progress bar.
    """
    own = dataset.select_columns(list(sources))
    made = read_in_parts(own, read, Features(features), key=[read, dict(features)], desc=desc)
    rest = dataset.remove_columns([name for name in features if name in dataset.column_names])
    return concatenate_datasets([rest, made], axis=1) if rest.column_names else made


def with_written_values(dataset: Dataset, name: str) -> Dataset:
    """Return a data set in which a column of text holds the lists or objects that it writes; else it is unchanged.

    Raises:
        DistillationError: a value begins and ends like the others, but is no list or object, or of another type.
    """
    if not any(all(_is_written(value, *ends) for (value,) in values_of(dataset, name)) for ends in BRACKETS):
        return dataset
    types, first = [pa.null()], 0
    for part in dataset.select_columns([name]).with_format(None).iter(batch_size=10_000):
        values = [_value(text, name, row) for row, text in enumerate(part[name], first)]
        first += len(values)
        try:
            types.append(pa.array(values).type)
        except pa.ArrowException as error:
            raise DistillationError(
                f"the values that are written in column {name!r} are of several types ({error}). Give all of them one "
                "type, such as lists of names."
            ) from error
    schemas = [pa.schema({name: kind}) for kind in types]
    try:
        kind = pa.unify_schemas(schemas, promote_options="permissive").field(name).type
    except pa.ArrowTypeError as error:
        raise DistillationError(
            f"the values that are written in column {name!r} are of several types: "
            f"{shown(sorted(set(map(str, types))))}. Give all of them one type, such as lists of names."
        ) from error
    if pa.types.is_null(kind):
        return dataset
    kinds = "lists" if pa.types.is_list(kind) else "objects"
    logger.info("%r holds %s, written as text: they are read", name, kinds)
    feature = generate_from_arrow_type(kind)
    return with_columns(dataset, {name: feature}, [name], partial(_values, name), f"Reading {name}")


def _values(name: str, part: Part) -> Columns:
    return {name: [_value(text, name, row) for row, text in part.numbered(name)]}


def _is_written(value: str | None, begin: str, end: str) -> bool:
    text = (value or "").strip()
    return not text or (text.startswith(begin) and text.endswith(end))


def _value(text: str | None, name: str, row: int) -> Any:
    """Return what a text writes; None of an empty one."""
    if not text or text.isspace():
        return None
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        if not _has_neighbours(text):
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError):
        pass
    raise DistillationError(
        f"row {row} (counted from 0) of column {name!r} begins and ends like a list or an object, but is none as JSON "
        f'or Python writes them: {shown(text)}. Write it with commas and quotation marks, such as ["a", "b"]; NumPy '
        "writes arrays without commas, so turn them into lists before they are saved."
    )


def _has_neighbours(text: str) -> bool:
    """Whether two texts stand side by side without a comma, as NumPy writes them and Python would join them."""
    if not CLOSE_QUOTES.search(text):
        return False
    kinds = [token.type for token in tokenize.generate_tokens(StringIO(text).readline) if token.type not in LAYOUT]
    return any(kinds[index] == kinds[index + 1] == tokenize.STRING for index in range(len(kinds) - 1))
