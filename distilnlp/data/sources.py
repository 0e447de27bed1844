"""Load rows from whatever a recipe names: Hub id, folder, files, or a Python function."""

import importlib
import importlib.util
import logging
import os
import re
import traceback
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, load_dataset, load_dataset_builder, load_from_disk

from distilnlp.data.class_folders import find_class_folders, load_class_folders
from distilnlp.data.config import USUAL_SPLITS
from distilnlp.data.parts import unwritable_cache
from distilnlp.data.plain_copies import BUILDERS, ENDINGS, FileForm, ending_of
from distilnlp.data.source_files import is_pattern, load_files, misread, missing
from distilnlp.errors import DistillationError, UnreachableError, did_you_mean, shortened, shown

logger = logging.getLogger(__name__)

ALL_SPLITS = ("train", *(name for names in USUAL_SPLITS.values() for name in names))
# How tools name the parts of a split: `train-00000-of-00003`, `part-0001`, `train_2`. Other names with a number, such
# as `reviews1` and `reviews2`, may as well be versions.
SHARD = re.compile(r"(.+?)[-_.]?\d+([-_]of[-_]\d+)?")
PARTS = ("part", "shard", "chunk")


def load_source(
    source: str | dict[str, str | list[str]],
    config: str | None = None,
    wanted: Collection[str] | None = None,
    form: FileForm = FileForm(),  # noqa: B008  (it is frozen)
) -> DatasetDict:
    """Load a source as a `DatasetDict`; a source without splits becomes the split `train`. Every row is read once.

    Args:
        source: see `DataConfig.source`.
        config: configuration name of a Hub data set.
        wanted: the splits that will be read; of a folder other files are left alone, and named in a warning. None = all
            of them.
        form: how files are written, as far as the recipe says it.

    Raises:
        DistillationError: there is no such file, folder, function or data set, or it cannot be read.
    """
    given = source if isinstance(source, dict) else {"train": source}
    files = {split: [names] if isinstance(names, str) else names for split, names in given.items()}
    if not files or not all(name.strip() for names in files.values() for name in names or [""]):
        raise DistillationError(
            f"the source {source!r} is empty, or a file that it names is. Expected a Hub id, a folder, a file, a "
            "function, or {split: file or files}."
        )
    if config is not None and (isinstance(source, dict) or ":" in source or os.path.exists(source)):
        raise DistillationError(
            f"data.config names a configuration of a Hub data set, but {source!r} is not one, so that {config!r} would "
            "be ignored. Remove data.config."
        )
    if isinstance(source, dict) or os.path.isfile(source) or is_pattern(source):
        splits = DatasetDict({split: load_files(names, form) for split, names in files.items()})
    elif os.path.isdir(source):
        splits = _load_folder(Path(source), wanted, form)
    elif ":" in source:
        splits = _as_splits(_call_function(source), source)
    elif ending_of(Path(source)) in ENDINGS or source.startswith((".", "/")):
        raise missing(Path(source))
    else:
        splits = _load_from_hub(source, config)
    for name, split in splits.items():
        # Read every value once, mapped into memory and not held there: or damage would show in the middle of a run.
        try:
            split.data.table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise DistillationError(
                f"the split {name!r} of {shown(source)} is damaged: {shortened(str(error), 300)}. Make or download it "
                "anew."
            ) from error
    return splits


def _load_from_hub(name: str, config: str | None) -> DatasetDict:
    try:
        return _as_splits(load_dataset(name, config), name)
    except DistillationError:
        raise
    except Exception as error:
        raise unwritable_cache(error) or UnreachableError(
            f"cannot load {shown(name)} (configuration {config!r}): there is no such file or folder here, and the Hub "
            f"gave: {shortened(str(error), 300)}. Check the spelling, the configuration and the network."
        ) from error


def _as_splits(loaded: Any, source: str) -> DatasetDict:
    splits = DatasetDict(train=loaded) if isinstance(loaded, Dataset) else loaded
    if isinstance(splits, DatasetDict) and all(isinstance(split, Dataset) for split in splits.values()):
        return splits
    raise DistillationError(
        f"{source} must give a datasets.DatasetDict or Dataset, but it gave {type(loaded).__name__}. Return a "
        "DatasetDict with the splits as keys."
    )


# ---- Folders ----


def _load_folder(path: Path, wanted: Collection[str] | None, form: FileForm) -> DatasetDict:
    try:
        if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
            if "::" in str(path):
                raise misread(path, "::")
            return _as_splits(load_from_disk(str(path)), str(path))
        found = find_class_folders(path, [*(wanted or ()), *ALL_SPLITS])
        if found is not None:
            return load_class_folders(path, found, form)
        files = _files_of_splits(path, wanted) or _files_by_library(path)
        if files:
            return DatasetDict({split: load_files(names, form) for split, names in files.items()})
        return _as_splits(load_dataset(str(path)), str(path))
    except DistillationError:
        raise
    except Exception as error:
        raise unwritable_cache(error) or DistillationError(
            f"cannot read the folder {path} as a data set: {type(error).__name__}: {shortened(str(error), 300)}. "
            "Expected files such as train.csv and test.csv, or a folder written by Dataset.save_to_disk; make a "
            "damaged one anew."
        ) from error


def _files_of_splits(path: Path, wanted: Collection[str] | None) -> dict[str, list[str]]:
    """Return the file of each split, by its name; of no split if the folder itself holds no files of rows."""
    items = [item for item in sorted(path.iterdir()) if not item.name.startswith(".")]
    rows = [item for item in items if item.suffix.lower() in BUILDERS and item.is_file()]
    files: dict[str, list[str]] = {}
    for item in rows:
        if wanted is None or item.stem in wanted:
            files.setdefault(item.stem, []).append(str(item))
    shards = {} if files else _shards(rows, wanted)
    for split, names in shards.items():
        logger.info("%s: the split %s is read from %d files, in the order of their names", path, split, len(names))
    files |= shards
    for split, names in files.items():
        if len(names) > 1 and split not in shards:
            raise DistillationError(
                f"the folder {path} has several files for the split {split!r}: {[Path(name).name for name in names]}. "
                "Keep one, or name the files that are meant as {split: file or files}."
            )
    if rows and not files:
        raise DistillationError(
            f"the folder {path} has files for none of the splits {shown(list(wanted or ()))}: it has "
            f"{shown([item.name for item in rows])}. Rename them, or name the split in data.train_split."
        )
    used = {name for names in files.values() for name in names}
    # What looks like rows: by its ending, or by the name of a split.
    unused = [
        item.name
        for item in items
        if str(item) not in used and (item.suffix.lower() in BUILDERS or item.name.split(".")[0] in (wanted or ()))
    ]
    if files and unused:
        logger.warning(
            "of the folder %s nothing reads %s: name a file by its split, such as train.csv", path, shown(unused)
        )
    return files


def _shards(rows: Sequence[Path], wanted: Collection[str] | None) -> dict[str, list[str]]:
    """Return the parts of each split, by their names; of one name that is no split's, they are the training rows."""
    found: dict[str, list[str]] = {}
    known = {*ALL_SPLITS, *(wanted or ())}
    for item in rows:
        part = SHARD.fullmatch(item.stem)
        if part is None or not (part[1] in known or part[2] or part[1].lower() in PARTS):
            return {}
        found.setdefault(part[1], []).append(str(item))
    if len(found) == 1 and not found.keys() & known:
        return {"train": next(iter(found.values()))}
    return {name: names for name, names in found.items() if name in (known if wanted is None else wanted)}


def _files_by_library(path: Path) -> dict[str, list[str]]:
    """Return the files of each split in a folder of folders; none if they are of other kinds, or a README is there."""
    for characters in ("::", "*", "?", "["):
        if characters in str(path):
            raise misread(path, characters)
    found = load_dataset_builder(str(path)).config.data_files or {}
    files = {str(split): list(names) for split, names in found.items()}
    are_ours = {Path(name).suffix.lower() for names in files.values() for name in names} <= set(BUILDERS)
    return files if are_ours and not (path / "README.md").exists() else {}


# ---- Functions ----


def _call_function(reference: str) -> Any:
    """Return what a function of the user's gives: `package.module:function` or `path/to/file.py:function`."""
    name, _, function_name = reference.rpartition(":")
    if not name or not function_name:
        raise DistillationError(f"expected package.module:function or path/to/file.py:function, but got {reference!r}.")
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise missing(Path(name))
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        assert spec is not None  # the ending is .py
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        _run(partial(spec.loader.exec_module, module), str(Path(name)))
    else:
        try:
            module = _run(partial(importlib.import_module, name), name)
        except DistillationError as error:
            if not isinstance(error.__cause__, ImportError):
                raise
            raise DistillationError(
                f"cannot import {name!r}: {error.__cause__}. Install it, or give a file as `path/to/file.py:function`."
            ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        hint = did_you_mean(function_name, dir(module))
        raise DistillationError(f"{name} has no function {function_name!r}.{hint}")
    return _run(function, reference)


def _run(code: Callable[[], Any], reference: str) -> Any:
    try:
        return code()
    except (DistillationError, KeyboardInterrupt):  # the first says what is wrong by itself, the second is the user
        raise
    except BaseException as error:  # the user's own code may raise anything, and sys.exit is no Exception
        last = "".join(traceback.format_exception(error)[-2:])
        raise DistillationError(f"{reference} failed: {shortened(last, 1000)}") from error
