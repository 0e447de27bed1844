"""Load rows from whatever a recipe names: Hub id, folder, files, or a Python function."""

import importlib
import importlib.util
import json
import re
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from datasets import Dataset, DatasetDict, Features, load_dataset, load_from_disk

from distilnlp.data.parts import naming_the_cache
from distilnlp.errors import DistillationError, UnreachableError, did_you_mean

BUILDERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet", ".txt": "text"}

# Only an empty cell is a missing value: "None" and "NA" may be labels or texts.
READ_CSV: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}
ROWS, BYTES = 10_000, 10 << 20  # of a CSV file, of JSON: what is in memory at a time, and the library's own blocks


def load_source(source: str | dict[str, str | list[str]], config: str | None = None) -> DatasetDict:
    """Load a source as a `DatasetDict`; a source without splits becomes the split `train`.

    Args:
        source: see `DataConfig.source`.
        config: configuration name of a Hub data set.

    Raises:
        DistillationError: there is no such file, folder, function or data set, or it cannot be read.
    """
    is_here = isinstance(source, dict) or ":" in source or Path(source).expanduser().exists()
    if config is not None and is_here:
        raise DistillationError(
            f"data.config names a configuration of a Hub data set, but {source!r} is none, so that {config!r} would be "
            "ignored. Remove data.config."
        )
    if isinstance(source, dict):
        return DatasetDict({split: _load_files(as_list(files)) for split, files in source.items()})
    if ":" in source and not Path(source).exists():
        return _as_splits(_call(source), source)
    path = Path(source).expanduser()
    if path.is_file():
        return DatasetDict(train=_load_files([source]))
    if path.is_dir():
        return _load_folder(path)
    if path.suffix in BUILDERS or source.startswith((".", "/", "~")):
        raise DistillationError(_missing_file(path))
    return _load_from_hub(source, config)


def _load_files(files: list[str]) -> Dataset:
    paths = [Path(file).expanduser() for file in files]
    for path in paths:
        if not path.is_file():
            raise DistillationError(_missing_file(path))
    suffixes = {path.suffix.lower() for path in paths}
    if len(suffixes) != 1 or not suffixes <= set(BUILDERS):
        raise DistillationError(
            f"the files of one split must share one of the endings {', '.join(BUILDERS)}, but they end in "
            f"{sorted(suffixes)}. Rename or convert them."
        )
    suffix = suffixes.pop()
    options = READ_CSV if suffix == ".csv" else {**READ_CSV, "sep": "\t"} if suffix == ".tsv" else {}
    try:
        with naming_the_cache():
            return _read(BUILDERS[suffix], paths, options)
    except DistillationError:
        raise
    except Exception as error:  # datasets raises many kinds; all mean that the file is not what its ending says
        raise DistillationError(
            f"cannot read {files} as {BUILDERS[suffix]}: {error.__cause__ or error}. Expected a file of UTF-8 text (or "
            "Parquet) with at least one row; convert or mend it."
        ) from error


def _read(kind: str, paths: list[Path], options: dict[str, Any]) -> Dataset:
    load = partial(load_dataset, kind, data_files=[str(path) for path in paths], split="train", **options)
    try:
        return load()
    except Exception as error:
        is_of_types = isinstance(error.__cause__ or error, (TypeError, ValueError, pa.ArrowException))
        if kind not in ("csv", "json") or not is_of_types:
            raise
        # The library takes the types from the first block of rows, in which all labels may be null.
        types = _types_of_csv(paths, options) if kind == "csv" else _types_of_json(paths)
        return load(features=Features.from_arrow_schema(pa.schema(list(types.items()))))


def _types_of_csv(paths: list[Path], options: dict[str, Any]) -> dict[str, pa.DataType]:
    """Return the type of each column over all rows: that of its numbers or truth values, or else string."""
    types: dict[str, pa.DataType] = {}
    for path in paths:
        for rows in pd.read_csv(path, chunksize=ROWS, low_memory=False, **options):
            for name, dtype in rows.dtypes.items():
                found = pa.from_numpy_dtype(dtype) if dtype.kind in "biuf" else pa.string()
                types[name] = _common_type(types.get(name, found), found) or pa.string()
    return types


def _types_of_json(paths: list[Path]) -> dict[str, pa.DataType]:
    """Return the type of each column over all rows."""
    types: dict[str, pa.DataType] = {}
    for path in paths:
        first = 0
        for block in _blocks(path):
            rows = _read_json(block, path, first)
            for name, column in zip(rows.column_names, rows.columns, strict=True):
                known = types.get(name, column.type)
                common = _common_type(known, column.type)
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


def _common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """Return the type that holds both, at any depth: of null and another, or of whole numbers and fractions."""
    schemas = [pa.schema({"": kind}) for kind in (first, second)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError:
        return None


def _several_types(path: Path, name: str, known: Any, other: Any, row: int) -> str:
    return (
        f"the column {name!r} of {path} holds values of several types: {known}, and {other} first at row {row} "
        "(counted from 0). Give all its values one type."
    )


def _load_folder(path: Path) -> DatasetDict:
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        return _as_splits(load_from_disk(str(path)), str(path))
    files = {file.stem: str(file) for file in sorted(path.iterdir()) if file.suffix.lower() in BUILDERS}
    if files:
        return DatasetDict({split: _load_files([file]) for split, file in files.items()})
    try:
        with naming_the_cache():
            return _as_splits(load_dataset(str(path)), str(path))
    except DistillationError:
        raise
    except Exception as error:  # see _load_files
        raise DistillationError(
            f"cannot read the folder {path} as a data set: {error}. Expected files such as train.csv and test.csv, or "
            "a folder written by Dataset.save_to_disk."
        ) from error


def _load_from_hub(name: str, config: str | None) -> DatasetDict:
    try:
        with naming_the_cache():
            return _as_splits(load_dataset(name, config), name)
    except DistillationError:
        raise
    except Exception as error:  # see _load_files
        raise UnreachableError(
            f"cannot load {name!r} (configuration {config!r}): there is no such file or folder here, and the Hub gave: "
            f"{error}. Check the spelling, the configuration and the network."
        ) from error


def _call(reference: str) -> Any:
    module_name, _, function_name = reference.rpartition(":")
    if not module_name or not function_name:
        raise DistillationError(f"expected package.module:function or path/to/file.py:function, but got {reference!r}.")
    module = _module_from_file(Path(module_name)) if module_name.endswith(".py") else _import(module_name)
    function: Callable[[], Any] | None = getattr(module, function_name, None)
    if not callable(function):
        hint = did_you_mean(function_name, dir(module))
        raise DistillationError(f"{module_name} has no function {function_name!r}.{hint}")
    return _run(function, reference)


def _run(code: Callable[[], Any], reference: str) -> Any:
    try:
        return code()
    except DistillationError:  # says what is wrong by itself
        raise
    except Exception as error:  # the user's own code may raise anything
        raise DistillationError(f"{reference} failed: {''.join(traceback.format_exception(error)[-2:])}") from error


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DistillationError(
            f"cannot import {name!r}: {error}. Install it, or give a file as `path/to/file.py:function`."
        ) from error


def _module_from_file(path: Path) -> Any:
    if not path.is_file():
        raise DistillationError(_missing_file(path))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # the ending is .py
    assert spec.loader is not None
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    _run(lambda: loader.exec_module(module), str(path))
    return module


def _as_splits(loaded: Any, source: str) -> DatasetDict:
    if isinstance(loaded, DatasetDict):
        return loaded
    if isinstance(loaded, Dataset):
        return DatasetDict(train=loaded)
    raise DistillationError(
        f"{source} must give a datasets.DatasetDict or Dataset, but it gave {type(loaded).__name__}. Return a "
        "DatasetDict with the splits as keys."
    )


def _missing_file(path: Path) -> str:
    siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"there is no file {path} (seen from {Path.cwd()}).{did_you_mean(path.name, siblings)} Check the path."


def as_list(value: str | list[str]) -> list[str]:
    """Return one file as a list of one."""
    return [value] if isinstance(value, str) else value
