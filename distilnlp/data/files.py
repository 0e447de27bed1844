"""Read the files of one split: CSV, TSV, JSON, Parquet and plain text."""

import glob
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from datasets import Dataset, Features, load_dataset

from distilnlp.data.delimited import reading_options
from distilnlp.data.json_files import common_type, refuse_null_rows, types_of_json
from distilnlp.data.parts import naming_the_cache
from distilnlp.errors import DistillationError, did_you_mean, shortened, shown

BUILDERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet", ".txt": "text"}
ROWS = 10_000  # of a CSV file: what is in memory at a time, and the library's own blocks


def load_files(files: list[str]) -> Dataset:
    """Return the rows of the files of one split.

    Raises:
        DistillationError: a file is missing, damaged, or not what its ending says.
    """
    paths = [Path(file) for file in files]
    for path in paths:
        if not os.path.isfile(path):  # Path.is_file raises an error for some names
            raise DistillationError(missing_file(path))
        require_plain_name(path, ("::",))
    suffixes = {path.suffix.lower() for path in paths}
    if len(suffixes) != 1 or not suffixes <= set(BUILDERS):
        raise DistillationError(
            f"the files of one split must share one of the endings {', '.join(BUILDERS)}, but they end in "
            f"{sorted(suffixes)}. Rename or convert them."
        )
    suffix = suffixes.pop()
    try:
        with naming_the_cache():
            return _read(suffix, paths)
    except DistillationError:
        raise
    except Exception as error:  # datasets raises many kinds; all mean that the file is not what its ending says
        raise DistillationError(
            f"cannot read {shown(files)} as {BUILDERS[suffix]}: {shortened(str(error.__cause__ or error), 300)}. "
            "Expected a file of UTF-8 text (or Parquet) with at least one row; convert or repair it."
        ) from error


def _read(suffix: str, paths: list[Path]) -> Dataset:
    kind = BUILDERS[suffix]
    options = reading_options(paths, "\t" if suffix == ".tsv" else ",") if kind == "csv" else {}
    for path in paths if kind == "json" else ():
        refuse_null_rows(path)
    # The library takes a name for a pattern, and what it matches for the files.
    load = partial(load_dataset, kind, data_files=[glob.escape(str(path)) for path in paths], split="train", **options)
    try:
        return load()
    except Exception as error:
        is_of_types = isinstance(error.__cause__ or error, (TypeError, ValueError, pa.ArrowException))
        if kind not in ("csv", "json") or not is_of_types:
            raise
        # The library takes the types from the first block of rows, in which all labels may be null.
        types = _types_of_csv(paths, options) if kind == "csv" else types_of_json(paths)
        return load(features=Features.from_arrow_schema(pa.schema(list(types.items()))))


def _types_of_csv(paths: list[Path], options: dict[str, Any]) -> dict[str, pa.DataType]:
    """Return the type of each column over all rows: that of its numbers or truth values, or else string."""
    types: dict[str, pa.DataType] = {}
    for path in paths:
        for rows in pd.read_csv(path, chunksize=ROWS, low_memory=False, **options):
            for name, dtype in rows.dtypes.items():
                found = pa.from_numpy_dtype(dtype) if dtype.kind in "biuf" else pa.string()
                types[name] = common_type(types.get(name, found), found) or pa.string()
    return types


def require_plain_name(path: Path, characters: Sequence[str]) -> None:
    """Raise a `DistillationError` if a path holds what the datasets library does not take as it stands."""
    found = [character for character in characters if character in str(path)]
    if found:
        raise DistillationError(
            f"{path} has {found[0]!r} in its name, by which the datasets library would read something else. Rename it."
        )


def missing_file(path: Path) -> str:
    """Return the message that there is no such file."""
    siblings = [item.name for item in path.parent.iterdir()] if os.path.isdir(path.parent) else []
    return (
        f"there is no file {shortened(str(path), 300)} (seen from {Path.cwd()}).{did_you_mean(path.name, siblings)} "
        "Check the path."
    )
