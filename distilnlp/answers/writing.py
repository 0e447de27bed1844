"""Write a teacher's answers to disk: each process its own shards, and after a kill only those that are missing."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from datasets import Dataset
from filelock import FileLock, Timeout
from torch import Tensor

from distilnlp.answers.layout import kept_signals
from distilnlp.answers.manifest import MANIFEST, DamagedManifestError, Manifest, read_manifest, write_manifest
from distilnlp.answers.records import (
    STEM,
    clear_records,
    clear_shards,
    intact_shards,
    known_shards,
    record_shard,
    shard_path,
)
from distilnlp.answers.row_keys import KEY_BYTES, dataset_keys
from distilnlp.answers.store import AnswerStore, damaged_shards, write_shard
from distilnlp.data import spread
from distilnlp.errors import DistillationError, NotKeptError
from distilnlp.files import UNFINISHED, digest, is_failed_write
from distilnlp.screen import progress
from distilnlp.signals import LABEL_INPUTS, SignalRequest
from distilnlp.tasks import Task
from distilnlp.teachers import Collate, Teacher

logger = logging.getLogger(__name__)

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
FEWEST_ROWS, MOST_ROWS = 128, 4096  # of a shard: a kill costs one shard a process
SAMPLE_ROWS = 8  # whose answers tell how large the cache will be
LOCK = "lock"  # stays: who waits for it has it open
LARGE = 1 << 30  # bytes from which a cache's size is a warning


class NoSpaceError(NotKeptError):
    """The disk has no place for a cache."""


class DiskFullError(NoSpaceError):
    """The disk filled up while a cache was written: it can be gone on with."""


@dataclass(frozen=True)
class CacheSettings:
    """How answers are kept.

    Attributes:
        dtype: of the numbers: float16, bfloat16 or float32.
        top_k: how many of a vocabulary's logits are kept, beside the mass of the others.
        batch_size: texts in one forward pass of the teacher.
        temperature: at which that mass is measured; the soft loss may read the answers at this one alone.
    """

    dtype: str = "float16"
    top_k: int = 64
    batch_size: int = 32
    temperature: float = 1.0


class CacheWriter:
    """Writes the answers of one teacher to the rows of one data set.

    Args:
        folder: of the cache.
        rows: as the teacher reads them; tokenised, not padded, the same every time they are read.
        collate: makes the teacher's batches of them.
        task: of the teacher.
        teacher: gives `profile` and `columns`; it answers in `write`, if anything is left to be answered.
        request: the signals that are kept beside the logits.
        identity: what went into the answers, by name; a cache in which any of it differs is another one.
        settings: how they are kept.

    Raises:
        DistillationError: attention maps are asked for, which are not kept, or an unknown dtype.
    """

    def __init__(
        self,
        folder: str | Path,
        rows: Dataset,
        collate: Collate,
        task: Task,
        teacher: Teacher,
        request: SignalRequest,
        identity: Mapping[str, object],
        settings: CacheSettings,
    ) -> None:
        check_request(request)
        if settings.dtype not in DTYPES:
            raise DistillationError(f"a cache's dtype must be one of {list(DTYPES)}, but it is {settings.dtype!r}.")
        self.folder, self.collate, self.task, self.settings = Path(folder), collate, task, settings
        self.teacher, self.state = teacher, PartialState()
        if not len(rows):
            raise DistillationError("a cache needs rows that the teacher answers, but there are none.")
        is_cut = task.classes_are_tokens and settings.top_k < teacher.profile.num_labels
        columns = tuple(name for name in key_columns(task, teacher.columns) if name in rows.column_names)
        keys = dataset_keys(rows, columns)
        # Rows of equal content have one answer; the first of them stands for all.
        first = np.sort(np.unique(keys, axis=0, return_index=True)[1])
        self._keys, self._rows, self._first = keys[first], rows.with_format(None), first
        most = MOST_ROWS if not (request.hidden_states or request.qkv) else MOST_ROWS // 8  # a shard is held in memory
        self.manifest = Manifest(
            identity={**identity, "data": digest([self._keys.tobytes()]).hex()},
            profile=replace(teacher.profile, task=task.name, temperature=settings.temperature if is_cut else None),
            request=request,
            columns=columns,
            dtype=settings.dtype,
            top_k=settings.top_k,
            rows=len(first),
            rows_per_shard=int(np.clip(-(-len(first) // 64), FEWEST_ROWS, most)),
        )

    def write(self, overwrite: bool = False) -> None:
        """Write what is missing, and with `overwrite` delete another cache; every process writes its own shards.

        Raises:
            NoSpaceError: the disk has no place for it; or, as DiskFullError, is full: finished shards are kept.
            DistillationError: another cache is in the folder, or the teacher answers NaN.
        """
        lock = FileLock(self.folder / LOCK)
        try:
            left: list[int] = self._on_main(lambda: self._begin(lock, overwrite))
            self._all_or_none(lambda: self._write_own(left))
            self._on_main(lambda: self._finish(is_new=bool(left)))
        finally:
            lock.release()

    def _write_own(self, left: list[int]) -> None:
        own = left[self.state.process_index :: self.state.num_processes]
        rows = sum(len(self._first[self._places(number)]) for number in own)
        with progress("Keeping the teacher's answers", rows) as bar:
            for number in own:
                self._write_shard(number, bar.advance)

    def _places(self, number: int) -> slice:
        """Return which of the rows are in a shard."""
        start = number * self.manifest.rows_per_shard
        return slice(start, start + self.manifest.rows_per_shard)

    def _on_main(self, compute: Callable[[], Any]) -> Any:
        """Return on every process what the main one computes; an error of it is everyone's."""
        held = self._attempt(compute) if self.state.is_main_process else (None, None)
        value, failure = broadcast_object_list([*held])
        if failure is not None:
            raise held[1] or failure
        return value

    def _all_or_none(self, work: Callable[[], None]) -> None:
        """Do the work of every process; if one fails, all do, because the others would wait for it."""
        failure = self._attempt(work)[1]
        failures = [one for one in gather_object([failure]) if one is not None]
        if failures:
            raise failure or failures[0]

    def _attempt(self, work: Callable[[], Any]) -> tuple[Any, DistillationError | None]:
        """Return what the work returns, or the error that all processes are to hear of."""
        try:
            return work(), None
        except DistillationError as error:
            return None, error
        except Exception as error:  # safetensors raises a kind of its own
            if not is_failed_write(error):
                raise
            done = len(list(self.folder.glob("shard-*.safetensors")))
            full = DiskFullError(
                f"the disk of {self.folder} is full: {done} of {self.manifest.num_shards} shards of the cache are "
                "finished and stay usable. Make room and give the same command again: it goes on with the others."
            )
            full.__cause__ = error
            return None, full

    # ---- What is there ----

    def _begin(self, lock: FileLock, overwrite: bool) -> list[int]:
        """Claim the folder, and return the numbers of the shards to be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.info("teacher: waits for another process, which writes the cache %s", self.folder)
                lock.acquire()
        except OSError as error:
            if is_failed_write(error):
                raise
            raise NotKeptError(f"a cache needs a folder that can be written, but {self.folder}: {error}.") from error
        left = self._left(overwrite)
        if left:
            self._check_space(len(left))
        return left

    def _left(self, overwrite: bool) -> list[int]:
        """Return the numbers of the shards to be written."""
        try:
            before = check_cache_folder(self.folder)
        except DamagedManifestError:
            if not overwrite:
                raise
            logger.warning("the teacher is asked anew: %s is damaged", self.folder / MANIFEST)
            clear_shards(self.folder)
            before = None
        differences = self.manifest.differences(before) if before is not None else {}
        if before is not None and before.is_finished and [*differences] == ["data"] and self._has_all():
            return []  # these rows are some of those that it was written for, or in another order
        changed = "; ".join(differences.values())
        if changed and not overwrite:
            raise DistillationError(
                f"the folder {self.folder} holds another cache, in which these differ: {changed}. Give another folder, "
                "or delete that cache."
            )
        if changed:
            logger.info("the teacher is asked again, because these differ from the cache: %s", changed)
            clear_shards(self.folder)
        if before is None or differences:
            before = self.manifest
            write_manifest(self.folder, before)
        intact = intact_shards(self.folder, before)
        return [number for number in range(self.manifest.num_shards) if number not in intact]

    def _has_all(self) -> bool:
        is_whole = not damaged_shards(self.folder)
        return is_whole and bool((AnswerStore(self.folder, verify=False).find(self._keys) >= 0).all())

    # ---- Space ----

    def _check_space(self, shards: int) -> None:
        """Say how large the rest of a large cache will be, and refuse one that the disk cannot hold."""
        free = shutil.disk_usage(self.folder).free
        sample = list(spread(self._rows.select(self._first), SAMPLE_ROWS))
        answers, _ = self._answer_sorted(sample, lambda _: None)
        size = sum(flat.numel() * flat.element_size() + 8 * len(counts) for flat, counts in answers.values())
        rows = min(shards * self.manifest.rows_per_shard, self.manifest.rows)
        needed = int((size / len(sample) + KEY_BYTES) * rows)
        level = logging.WARNING if needed > LARGE else logging.INFO
        text = "the teacher's answers to %s rows take about %s in %s (%s, %s free)"
        logger.log(level, text, f"{self.manifest.rows:,}", _size(needed), self.folder, self.settings.dtype, _size(free))
        if needed > 0.9 * free:
            raise NoSpaceError(
                f"the cache needs about {_size(needed)}, but the disk of {self.folder} has {_size(free)} free. Choose "
                "a folder on another disk, keep fewer signals, or run the teacher beside the student "
                "(teacher_cache=off)."
            )

    # ---- Answers ----

    def _write_shard(self, number: int, report: Callable[[int], Any]) -> None:
        places = self._places(number)
        rows = [self._rows[int(index)] for index in self._first[places]]
        fields, error = self._answer_sorted(rows, report)
        path = shard_path(self.folder, number)
        write_shard(path, self._keys[places], fields)
        record_shard(path, len(rows), error)

    def _answer_sorted(
        self, rows: list[dict[str, Any]], report: Callable[[int], Any]
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, float]]:
        """Answer rows in batches of like length; return the fields in the order of the rows, with their errors.

        The report is told how many rows were answered, batch by batch.
        """
        order = sorted(range(len(rows)), key=lambda row: self.task.modality.length_of(rows[row]))
        parts: dict[str, list[Tensor]] = {}
        error: dict[str, float] = {}
        for start in range(0, len(order), self.settings.batch_size):
            batch = order[start : start + self.settings.batch_size]
            for name, (flat, counts) in self._answer([rows[row] for row in batch]).items():
                kept = self._narrowed(name, flat)
                error[name] = max(error.get(name, 0.0), _error(flat, kept))
                by_row = parts.setdefault(name, [torch.empty(0)] * len(rows))
                for row, values in zip(batch, kept.split(counts.tolist()), strict=True):
                    by_row[row] = values
            report(len(batch))
        fields = {}
        for name in list(parts):  # one after the other: a shard of hidden states is large
            by_row = parts.pop(name)
            fields[name] = torch.cat(by_row), torch.tensor(list(map(len, by_row)))
        return fields, error

    def _answer(self, rows: list[dict[str, Any]]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return by field what is kept of these rows, flat, and how much of it each row has."""
        batch = {name: value.to(self.state.device) for name, value in self.collate(rows).items()}
        request, settings = self.manifest.request, self.settings
        signals = self.teacher(batch, request)
        kept = kept_signals(self.task, batch, signals, request, settings.top_k, settings.temperature)
        return {name: tuple(part.cpu() for part in values.by_row()) for name, values in kept.items()}  # type: ignore[misc]

    def _narrowed(self, name: str, flat: Tensor) -> Tensor:
        if not flat.is_floating_point():
            return flat
        kept = flat.to(DTYPES[self.settings.dtype])
        if not kept.isfinite().all():
            what = "NaN or infinite" if not flat.isfinite().all() else f"up to {flat.abs().max():.3g}"
            raise NotKeptError(
                f"{name} of the teacher must fit into {self.settings.dtype}, but there are values {what}. Use "
                "bfloat16 or float32 (teacher_cache_dtype), or mend the teacher."
            )
        return kept

    def _finish(self, is_new: bool) -> None:
        before = read_manifest(self.folder)
        if is_new or before is None or not before.is_finished:  # killed between the last shard and the manifest
            shards = known_shards(self.folder, before)  # their bytes were read when they were written or found
            absent = [number for number in range(self.manifest.num_shards) if number not in shards]
            if absent:
                raise DistillationError(
                    f"the shards {absent[:5]} of the cache {self.folder} are not there although they were written. All "
                    "processes must see one and the same folder: put it on a disk that the machines share."
                )
            whole = tuple(shards[number] for number in range(self.manifest.num_shards))
            write_manifest(self.folder, replace(self.manifest, shards=whole))
        clear_records(self.folder)  # also what a kill left behind a finished manifest


def check_cache_folder(folder: Path) -> Manifest | None:
    """Return the manifest of a folder that has a cache, None of one that is empty.

    Raises:
        DistillationError: it holds other files, or its manifest is damaged.
    """
    manifest = read_manifest(folder)
    own = (LOCK, STEM, UNFINISHED, MANIFEST)
    others = sorted(path.name for path in folder.iterdir() if not path.name.startswith(own))
    if others and manifest is None:
        raise DistillationError(
            f"a cache needs a folder of its own, but {folder} holds other files: {others[:5]}. Give another."
        )
    return manifest


def check_request(request: SignalRequest) -> None:
    """Refuse to keep what is too large: attention maps, a number for each pair of tokens of a head, and neurons."""
    if request.attentions:
        raise DistillationError(
            "attention maps are not kept on disk: they take heads x length x length numbers a layer. Use the relations "
            "of minilm or minilmv2, which are kept as queries, keys and values, or set teacher_cache to off."
        )
    if request.pre_activations:
        raise DistillationError(
            "pre-activations are not kept on disk: a layer has several times as many as a hidden state has numbers. "
            "Use a loss on hidden states, or set teacher_cache to off."
        )


def key_columns(task: Task, columns: frozenset[str]) -> tuple[str, ...]:
    """Return the columns that decide an answer: what the teacher reads, and what says which logits count."""
    return tuple(sorted((columns - {*LABEL_INPUTS}) | task.item_marks))


def _error(given: Tensor, kept: Tensor) -> float:
    return float((given.double() - kept.double()).abs().max()) if given.numel() else 0.0


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
