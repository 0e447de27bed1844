"""Folders with one subfolder a class, of text files that are a text each: `pos/1.txt`, `neg/2.txt`, or below splits."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Features, Value
from datasets.exceptions import DatasetGenerationError

from distilnlp.data.plain_copies import FileForm, encoding_of, not_decodable
from distilnlp.errors import DistillationError
from distilnlp.signals import LABEL, TEXT

logger = logging.getLogger(__name__)

ENDING = ".txt"
FEATURES = Features({TEXT: Value("string"), LABEL: Value("string")})
Classes = Mapping[str, Sequence[Path]]  # the files of each class, by its name


def find_class_folders(path: Path, splits: Sequence[str]) -> dict[str, Classes] | None:
    """Return the files of each class of each split; None where a folder is not made so.

    Args:
        path: the folder.
        splits: names that splits can have; folders of these names hold classes themselves.
    """
    inner = _folders(path)
    if inner and all(item.name in splits for item in inner):
        found = {item.name: _classes(item) for item in inner}
        return None if None in found.values() else {name: own for name, own in found.items() if own is not None}
    classes = _classes(path)
    return None if classes is None else {"train": classes}


def load_class_folders(path: Path, found: Mapping[str, Classes], form: FileForm) -> DatasetDict:
    """Return the rows, `text` and `label`, of what `find_class_folders` found.

    Raises:
        DistillationError: a file is no text in its encoding.
    """
    for split, classes in found.items():
        counts = ", ".join(f"{name} ({len(files):,})" for name, files in classes.items())
        logger.info("%s: each file of %s is one text, its folder the label: %s", path, split, counts)
    return DatasetDict({split: _rows(classes, form) for split, classes in found.items()})


def _folders(path: Path) -> list[Path] | None:
    """Return the folders in a folder, sorted; None if files of rows lie beside them, or there are none."""
    items = [item for item in sorted(path.iterdir()) if not item.name.startswith(".")]
    inner = [item for item in items if item.is_dir()]
    notes = [item for item in items if item.is_file() and not item.stem.isupper()]  # but README, LICENSE
    return inner if inner and not notes else None


def _classes(path: Path) -> Classes | None:
    inner = _folders(path) or []
    files = {item.name: [file for file in sorted(item.iterdir()) if not file.name.startswith(".")] for item in inner}
    are_texts = all(own and all(file.is_file() and file.suffix == ENDING for file in own) for own in files.values())
    return files if len(files) > 1 and are_texts else None


def _rows(classes: Classes, form: FileForm) -> Dataset:
    # Sizes and times are given too: by them the datasets library knows a copy of its own that is out of date.
    files = [
        (label, str(file), encoding_of(file, form), file.stat().st_size, file.stat().st_mtime_ns)
        for label, own in classes.items()
        for file in own
    ]
    try:
        rows: Any = Dataset.from_generator(_read, features=FEATURES, gen_kwargs={"files": files})
    except DatasetGenerationError as error:
        raise error.__cause__ if isinstance(error.__cause__, DistillationError) else error from None
    made: Dataset = rows
    return made


def _read(files: Sequence[tuple[str, str, str, int, int]]) -> Iterator[dict[str, str]]:
    for label, name, encoding, *_ in files:
        try:
            yield {TEXT: Path(name).read_text(encoding=encoding).strip(), LABEL: label}
        except UnicodeDecodeError as error:
            raise not_decodable(Path(name), encoding, error.start) from None
