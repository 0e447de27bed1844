"""Stages: each records what went in and what came out, is reused while both are the same, and goes on after a kill."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from distilnlp.files import altered, checksums, content_checksum, read_record, remove, write_record
from distilnlp.screen import progress

logger = logging.getLogger(__name__)

WORK = "work"
HISTORY = "history"  # of a training, beside its model: a file of this name, and a folder for what trackers log
STARTS = "starts"  # for the first time
SHOWN = 5  # damaged files that are named
REUSED = "%s: reused, nothing that goes into it has changed"


@dataclass
class Stage:
    """One stage of a run.

    Attributes:
        run_folder: folder of the run.
        name: of the stage; its record is `work/<name>.json`, its unfinished work is in `work/<name>/`.
        output: the folder or file, inside the run folder, that the stage makes.
        inputs: everything that went into it, as JSON values.
        title: of the stage in messages; empty = its name.
        find_damage: what of a finished output is damaged, for an output that has checksums of its own. It is not
            thrown away then, but is the unfinished work again, to be mended. None = the record has the checksums.
    """

    run_folder: Path
    name: str
    output: str
    inputs: Mapping[str, Any]
    title: str = ""
    state: PartialState = field(default_factory=PartialState)
    find_damage: Callable[[Path], list[str]] | None = None
    _is_whole: bool = field(default=False, init=False)  # as was found: checksums of large files are not taken twice

    @property
    def digest(self) -> str:
        """A short hash of the inputs, by which a later stage names this one."""
        return content_checksum(self.inputs)

    @property
    def content(self) -> str:
        """A short hash of the finished output: what was made a second time need not be the same to the last bit."""
        return content_checksum(self.record["files"])

    @property
    def record(self) -> Mapping[str, Any]:
        """What is recorded: whether it is `done`, and then `seconds` and the checksums of its `files`; or nothing."""
        return read_record(self._record_path) or {}

    @property
    def result(self) -> Path:
        """Where the finished output lies."""
        return self.run_folder / self.output

    def run(self, make: Callable[[Path], Path]) -> Path:
        """Return the finished output: the one from before if it is whole and the inputs are the same, else a new one.

        Args:
            make: makes the output, on every process. It gets a folder for its unfinished work, which is the same
                one after a kill, and returns the path of what it made there.
        """
        # The main process alone looks, and all have heard what it saw before it writes anything.
        is_reusable = broadcast_object_list([self.state.is_main_process and self._begin()])[0]
        if is_reusable:
            return self.result
        start = time.monotonic()
        with progress(self.title or self.name, is_step=True):
            made = make(self._work)
        self.state.wait_for_everyone()
        if self.state.is_main_process:
            self._finish(made, time.monotonic() - start)
        self.state.wait_for_everyone()
        return self.result

    @property
    def _work(self) -> Path:
        return self.run_folder / WORK / self.name

    @property
    def _record_path(self) -> Path:
        return self.run_folder / WORK / f"{self.name}.json"

    @property
    def is_reusable(self) -> bool:
        """Whether the finished output is whole and the inputs are the same."""
        record, _ = self._read()
        is_finished = record.get("digest") == self.digest and record["done"]
        self._is_whole = bool(is_finished) and not self._damaged(record)
        return self._is_whole

    def say_reused(self) -> None:
        """Say that the output is that of before, if it is there and the inputs are the same."""
        record, _ = self._read()
        if record.get("digest") == self.digest and record["done"] and self.result.exists():
            logger.info(REUSED, self.title or self.name)

    def _read(self) -> tuple[Mapping[str, Any], str]:
        """Return the record of the stage, and why it starts if it starts."""
        try:
            record = read_record(self._record_path) or {}
            return record, _what_changed(record.get("inputs"), self.inputs)
        except (OSError, ValueError) as error:  # ValueError: neither JSON nor UTF-8
            return {}, f"starts again, because its record {self._record_path} is damaged ({error})"

    def _begin(self) -> bool:
        """Say whether the finished output can be reused; if not, prepare the folder for the work."""
        record, changes = self._read()
        is_same = record.get("digest") == self.digest
        damaged = self._damaged(record) if is_same and record["done"] and not self._is_whole else []
        self._is_whole = False
        if is_same and record["done"] and not damaged:
            logger.info(REUSED, self.title or self.name)
            remove(self._work)  # a kill may have left it
            return True
        if damaged:
            more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
            logger.warning("%s: made again, for %s%s", self.title or self.name, ", ".join(damaged[:SHOWN]), more)
        else:
            level = logging.DEBUG if changes == STARTS and not is_same else logging.INFO  # the screen says that itself
            logger.log(level, "%s: %s", self.title or self.name, "goes on where it stopped" if is_same else changes)
        self._prepare(keeps_work=is_same and not damaged, reopens=bool(damaged))
        return False

    def _damaged(self, record: Mapping[str, Any]) -> list[str]:
        if not self.result.exists():
            return [f"{self.result} is missing"]
        return self.find_damage(self.result) if self.find_damage else altered(self.result, record["files"])

    def _prepare(self, keeps_work: bool, reopens: bool) -> None:
        if not keeps_work:
            remove(self._work)
        self._work.mkdir(parents=True, exist_ok=True)
        self._write_record(done=False)
        if reopens and self.find_damage and self.result.exists():
            self.result.rename(self._work / self.result.name)

    def _finish(self, made: Path, seconds: float) -> None:
        files = {} if self.find_damage else {name: sum_ for name, sum_ in checksums(made).items() if not _is_log(name)}
        remove(self.result)
        self.result.parent.mkdir(exist_ok=True)
        made.rename(self.result)
        self._write_record(done=True, seconds=round(seconds, 1), files=files)
        shutil.rmtree(self._work, ignore_errors=True)

    def _write_record(self, **status: Any) -> None:
        write_record(self._record_path, {"digest": self.digest, **status, "inputs": self.inputs})


def _is_log(name: str) -> bool:
    """Whether a file is what a training logged: it lies beside what was made, and is no part of it."""
    return name.split("/")[0].split(".")[0] == HISTORY


def _what_changed(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if before is None:
        return STARTS
    current = json.loads(json.dumps(now, default=str))
    changed = sorted(key for key in {*before, *current} if before.get(key) != current.get(key))
    return f"starts again, because these have changed: {', '.join(changed)}"
