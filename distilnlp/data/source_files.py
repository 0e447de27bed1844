"""Read the files of one split: every kind, as it is or by way of a plain copy."""

import glob
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, Features, load_dataset

from distilnlp.data.parts import unwritable_cache
from distilnlp.data.plain_copies import (
    BUILDERS,
    ENDINGS,
    FileForm,
    ending_of,
    first_undecodable,
    not_decodable,
    plain_copy,
)
from distilnlp.data.text_files import csv_options, refuse_null_rows, types_of_csv, types_of_json
from distilnlp.errors import DistillationError, did_you_mean, shortened, shown


def is_pattern(name: str) -> bool:
    """Whether a name stands for several files, and is not that of one."""
    return glob.has_magic(name) and not os.path.exists(name) and ending_of(Path(name)) in ENDINGS


def load_files(files: Sequence[str], form: FileForm) -> Dataset:
    """Return the rows of the files of one split.

    Args:
        files: names, and patterns that stand for all files they match, in order.
        form: how they are written, as far as it is known.

    Raises:
        DistillationError: there is no such file, it cannot be read, or the files are not alike.
    """
    named = [sorted(glob.glob(file)) or [file] if is_pattern(file) else [file] for file in files]
    originals = [Path(file) for matched in named for file in matched]
    _check_alike(originals)
    paths, kind = originals, "text"
    try:
        paths = [plain_copy(path, form) for path in originals]
        kind = _kind_of(paths)
        return _load(paths, kind, form)
    except DistillationError as error:
        said = str(error)
        for path, original in zip(paths, originals, strict=True):
            said = said.replace(str(path), str(original))
        raise DistillationError(said) from error.__cause__
    except Exception as error:
        for path in paths if kind != "parquet" else ():
            if (place := first_undecodable(path)) is not None:
                raise not_decodable(path, "utf-8", place) from error
        raise unwritable_cache(error) or DistillationError(
            f"cannot read {shown(list(files))} as {kind}: {shortened(str(error.__cause__ or error), 300)}. Expected a "
            "file of UTF-8 text (or Parquet) with at least one row; convert or repair it."
        ) from error


def _check_alike(paths: Sequence[Path]) -> None:
    """Refuse files that are not there or of several endings."""
    for path in paths:
        if not os.path.isfile(path):  # Path.is_file raises an error for some names
            raise missing(path)
        if "::" in str(path):
            raise misread(path, "::")
    endings = {ending_of(path) for path in paths}
    if len(endings) != 1 or not endings <= set(ENDINGS):
        raise DistillationError(
            f"the files of one split must share one of the endings {', '.join(ENDINGS)}, but they end in "
            f"{sorted(endings)}. Rename or convert them."
        )


def _kind_of(copies: Sequence[Path]) -> str:
    """Return the reader of files, all of which it can read."""
    kinds = {BUILDERS[copy.suffix.lower()] for copy in copies}
    if len(kinds) > 1:
        raise DistillationError(
            f"the files of one split must hold the same, but of {shown(list(map(str, copies)))} some are words with a "
            "tag each, a word a line, and others are not. Name them as splits of their own."
        )
    return kinds.pop()


def _load(paths: Sequence[Path], kind: str, form: FileForm) -> Dataset:
    options = csv_options(paths, form) if kind == "csv" else {}
    for path in paths if kind == "json" else ():
        refuse_null_rows(path)
    # The library takes a name for a pattern, and what it matches for the files.
    names = [glob.escape(str(path)) for path in paths]
    load = partial(load_dataset, kind, data_files=names, split="train", **options)
    try:
        return load()
    except Exception as error:
        is_of_types = isinstance(error.__cause__ or error, (TypeError, ValueError, pa.ArrowException))
        if kind not in ("csv", "json") or not is_of_types:
            raise
        # The library takes the types from the first block of rows, in which all labels may be null.
        types = types_of_csv(paths, options) if kind == "csv" else types_of_json(paths)
        return load(features=Features.from_arrow_schema(pa.schema(list(types.items()))))


def missing(path: Path) -> DistillationError:
    """Return what is said of a file that is not there."""
    siblings = [item.name for item in path.parent.iterdir()] if os.path.isdir(path.parent) else []
    return DistillationError(
        f"there is no file {shortened(str(path), 300)} (seen from {Path.cwd()}).{did_you_mean(path.name, siblings)} "
        "Check the path."
    )


def misread(path: Path, characters: str) -> DistillationError:
    """Return what is said of a name by which the datasets library would read something else."""
    return DistillationError(
        f"{path} has {characters!r} in its name, by which the datasets library would read something else. Rename it."
    )
