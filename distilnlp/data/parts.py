"""Work on rows in parts: of rows in files come rows in a file, and the memory never holds them all."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetInfo, Features, List, Value
from datasets.fingerprint import Hasher, generate_random_fingerprint
from numpy.typing import NDArray

from distilnlp.errors import DistillationError
from distilnlp.files import FULL, causes, is_failed_write
from distilnlp.screen import progress

Columns = dict[str, list[Any]]  # one entry a row
Types = Mapping[str, Value | List]  # of the columns
PART = 1000  # rows: what is in memory at a time
FOLDER = "distilnlp"  # in the cache of the datasets library
# What decides how rows are read, rewritten and tokenised.
CODE, LIBRARIES = ("data", "tasks", "augmentation"), ("datasets", "tokenizers", "transformers")


@dataclass(frozen=True)
class Part:
    """Some rows of a data set, one after the other.

    Attributes:
        rows: these alone.
        first: the number of the first of them among all rows, from 0.
    """

    rows: Dataset
    first: int

    def numbered(self, name: str) -> Iterator[tuple[int, Any]]:
        """Yield the values of a column, each with the number of its row among all rows."""
        return enumerate(self.rows[name][:], self.first)


def read_in_parts(
    dataset: Dataset, read: Callable[[Part], Columns], features: Features, *, key: object, desc: str
) -> Dataset:
    """Return the rows, of these features, that are read of each part of a data set; as many of each as it wants."""
    if not len(dataset):
        return Dataset.from_dict(read(Part(dataset, 0)), features=features)
    info = DatasetInfo(features=dataset.features)
    made = map_in_parts(
        dataset.with_format("arrow"),
        lambda table, numbers: read(Part(Dataset(table, info, fingerprint="part"), numbers[0])),
        key=key,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=features,
        desc=desc,
    )
    return made.with_format(None)


def map_in_parts(rows: Dataset, function: Callable[..., Any], *, key: object = None, **options: Any) -> Dataset:
    """Return `rows.map(function, batched=True, **options)`: in memory as the rows are, or else in a file.

    The file lies in the cache of the datasets library, never beside the user's own. It is found again, by another
    process or run, for the same rows, function and code.

    Args:
        rows: the function is not called for an empty data set.
        function, options: see `Dataset.map`; what it makes depends on the rows and the key alone.
        key: what tells the function from others; None = the function itself, with all that it refers to.

    Raises:
        DistillationError: the cache cannot be written.
    """
    named = {name: value for name, value in options.items() if name != "desc"}
    path, fingerprint = None, generate_random_fingerprint()
    if rows.cache_files and datasets.is_caching_enabled():  # rows in memory are not found again, and a hash takes long
        with suppress(Exception):  # what cannot be pickled, for whatever reason, is made anew each time
            fingerprint = Hasher.hash([rows._fingerprint, function if key is None else key, named, _code()])
        path = str(Path(datasets.config.HF_DATASETS_CACHE).expanduser() / FOLDER / f"{fingerprint}.arrow")
    had_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # the screen in use shows how far it is
    try:
        with progress(options.get("desc") or "Reading", len(rows)) as bar:

            def counting(*args: Any) -> Any:
                made = function(*args)
                bar.move(min(bar.done + PART, len(rows)))
                return made

            return rows.map(
                counting, batched=True, batch_size=PART, cache_file_name=path, new_fingerprint=fingerprint, **options
            )
    except DistillationError:
        raise
    except Exception as error:
        unwritable = unwritable_cache(error)
        if unwritable is None:
            raise
        raise unwritable from error
    finally:
        if had_bars:
            datasets.enable_progress_bars()


def unwritable_cache(error: Exception) -> DistillationError | None:
    """Return what is said of an error that comes of the cache of the datasets library; None if it does not."""
    cache = Path(datasets.config.HF_DATASETS_CACHE).expanduser()
    for cause in causes(error):
        path = getattr(cause, "filename", None)  # in the cache, or on the way to it
        is_near = isinstance(path, str) and (Path(path).is_relative_to(cache) or cache.is_relative_to(path))
        if is_near or is_failed_write(cause, FULL):
            return DistillationError(
                f"the cache of the datasets library, {cache}, cannot be written ({cause}). "
                "Set HF_DATASETS_CACHE to a folder with room."
            )
    return None


def spread(rows: Dataset, count: int) -> Dataset:
    """Return some rows, at most this many, spread evenly."""
    step = max(1, len(rows) // count)
    return rows.select(range(0, len(rows), step)[:count])


def numbers_of(rows: Dataset, name: str) -> NDArray:
    """Return a column of numbers, one a row."""
    batches = rows.select_columns([name]).with_format("arrow").iter(batch_size=10_000)
    return np.concatenate([np.zeros(0, dtype=np.int8), *(batch[name].to_numpy() for batch in batches)])


def values_of(rows: Dataset, *names: str) -> Iterator[tuple[Any, ...]]:
    """Yield what each row has in these columns."""
    batches = rows.with_format(None).select_columns(list(names)).iter(batch_size=PART)
    return chain.from_iterable(zip(*(batch[name] for name in names), strict=True) for batch in batches)


@cache
def _code() -> list[Any]:
    """Return what tells this code from other: what that has made is made anew."""
    package = Path(__file__).parents[1]
    sources = [path.read_bytes() for name in CODE for path in sorted((package / name).rglob("*.py"))]
    return [sources, [version(name) for name in LIBRARIES]]
