"""Load rows from whatever a recipe names: Hub id, folder, files, or a Python function."""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, load_dataset, load_dataset_builder, load_from_disk

from distilnlp.data.files import BUILDERS, load_files, missing_file, require_plain_name
from distilnlp.data.functions import call_function
from distilnlp.data.parts import naming_the_cache
from distilnlp.errors import DistillationError, UnreachableError, shortened, shown

logger = logging.getLogger(__name__)


def load_source(
    source: str | dict[str, str | list[str]], config: str | None = None, wanted: Collection[str] | None = None
) -> DatasetDict:
    """Load a source as a `DatasetDict`; a source without splits becomes the split `train`. Every row is read once.

    Args:
        source: see `DataConfig.source`.
        config: configuration name of a Hub data set.
        wanted: the splits that will be read; of a folder other files are left alone, and named in a warning. None = all
            of them.

    Raises:
        DistillationError: there is no such file, folder, function or data set, or it cannot be read.
    """
    _require_source(source)
    is_here = isinstance(source, dict) or ":" in source or os.path.exists(source)
    if config is not None and is_here:
        raise DistillationError(
            f"data.config names a configuration of a Hub data set, but {source!r} is not one, so that {config!r} would "
            "be ignored. Remove data.config."
        )
    splits = _load(source, config, wanted)
    for name, split in splits.items():
        _require_sound(split, f"the split {name!r} of {shown(source)}")
    return splits


def _require_source(source: str | dict[str, str | list[str]]) -> None:
    names = (
        [source] if isinstance(source, str) else [name for files in source.values() for name in as_list(files) or [""]]
    )
    if not all(map(str.strip, names)) or not names:
        raise DistillationError(
            f"the source {source!r} is empty, or a file that it names is. Expected a Hub id, a folder, a file, a "
            "function, or {split: file or files}."
        )


def _load(source: str | dict[str, str | list[str]], config: str | None, wanted: Collection[str] | None) -> DatasetDict:
    if isinstance(source, dict):
        return DatasetDict({split: load_files(as_list(files)) for split, files in source.items()})
    if ":" in source and not os.path.exists(source):
        return _as_splits(call_function(source), source)
    path = Path(source)
    if os.path.isfile(path):
        return DatasetDict(train=load_files([source]))
    if os.path.isdir(path):
        return _load_folder(path, wanted)
    if path.suffix in BUILDERS or source.startswith((".", "/")):
        raise DistillationError(missing_file(path))
    return _load_from_hub(source, config)


def _require_sound(rows: Dataset, what: str) -> None:
    """Read every value once, mapped into memory and not held there: or damage would show in the middle of a run."""
    try:
        rows.data.table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise DistillationError(
            f"{what} is damaged: {shortened(str(error), 300)}. Make or download it anew."
        ) from error


def _load_folder(path: Path, wanted: Collection[str] | None) -> DatasetDict:
    with _naming_the_folder(path):
        if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
            require_plain_name(path, ("::",))
            return _as_splits(load_from_disk(str(path)), str(path))
        files = _files_of_splits(path, wanted) or _files_by_library(path)
        if files:
            return DatasetDict({split: load_files(names) for split, names in files.items()})
        with naming_the_cache():
            return _as_splits(load_dataset(str(path)), str(path))


def _files_by_library(path: Path) -> dict[str, list[str]]:
    """Return the files of each split in a folder of folders; none if they are of other kinds, or a README is there."""
    require_plain_name(path, ("::", "*", "?", "["))
    with naming_the_cache():
        found = load_dataset_builder(str(path)).config.data_files or {}
    files = {str(split): list(names) for split, names in found.items()}
    are_ours = {Path(name).suffix.lower() for names in files.values() for name in names} <= set(BUILDERS)
    return files if are_ours and not (path / "README.md").exists() else {}


@contextmanager
def _naming_the_folder(path: Path) -> Iterator[None]:
    try:
        yield
    except DistillationError:
        raise
    except Exception as error:  # datasets raises many kinds; all mean that the folder holds something else
        raise DistillationError(
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
    for split, names in files.items():
        if len(names) > 1:
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
    unused = [item.name for item in items if str(item) not in used and _may_be_meant(item, wanted)]
    if files and unused:
        logger.warning(
            "of the folder %s nothing reads %s: name a file by its split, such as train.csv", path, shown(unused)
        )
    return files


def _may_be_meant(item: Path, wanted: Collection[str] | None) -> bool:
    """Whether something in a folder of splits looks like rows: by its ending, or by the name of a split."""
    return item.suffix.lower() in BUILDERS or item.name.split(".")[0] in (wanted or ())


def _load_from_hub(name: str, config: str | None) -> DatasetDict:
    try:
        with naming_the_cache():
            return _as_splits(load_dataset(name, config), name)
    except DistillationError:
        raise
    except Exception as error:  # see _naming_the_folder
        raise UnreachableError(
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


def as_list(value: str | list[str]) -> list[str]:
    """Return one file as a list of one."""
    return [value] if isinstance(value, str) else value
