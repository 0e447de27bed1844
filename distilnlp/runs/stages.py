"""Stages: each records what went into it, is reused while that is the same, and goes on where a kill stopped it."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState

logger = logging.getLogger(__name__)

WORK = "work"


@dataclass
class Stage:
    """One stage of a run.

    Attributes:
        run_folder: folder of the run.
        name: of the stage; its record is `work/<name>.json`, its unfinished work is in `work/<name>/`.
        output: the folder or file, inside the run folder, that the stage makes.
        inputs: everything that went into it, as JSON values.
    """

    run_folder: Path
    name: str
    output: str
    inputs: Mapping[str, Any]
    state: PartialState = field(default_factory=PartialState)

    @property
    def digest(self) -> str:
        """A short hash of the inputs, by which a later stage names this one."""
        text = json.dumps(self.inputs, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def result(self) -> Path:
        """Where the finished output lies."""
        return self.run_folder / self.output

    def run(self, make: Callable[[Path], Path]) -> Path:
        """Return the finished output: the one from before if the inputs are the same, else a new one.

        Args:
            make: makes the output, on every process. It gets a folder for its unfinished work, which is the same
                one after a kill, and returns the path of what it made there.
        """
        record = self._read_record()
        reusable = record.get("digest") == self.digest and record.get("done") and self.result.exists()
        self.state.wait_for_everyone()  # everyone has read the record before anyone writes it
        if reusable:
            logger.info("%s: reused, nothing that goes into it has changed", self.name)
            return self.result
        if self.state.is_main_process:
            self._begin(record)
        self.state.wait_for_everyone()
        start = time.monotonic()
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

    def _read_record(self) -> dict[str, Any]:
        try:
            record = json.loads(self._record_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # ValueError: neither JSON nor UTF-8
            return {}
        return record if isinstance(record, dict) and isinstance(record.get("inputs"), dict) else {}

    def _begin(self, record: dict[str, Any]) -> None:
        if record.get("digest") == self.digest:
            logger.info("%s: goes on where it stopped", self.name)
        else:
            logger.info("%s: %s", self.name, _what_changed(record.get("inputs"), self.inputs))
            shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir(parents=True, exist_ok=True)
        self._write_record(done=False)

    def _finish(self, made: Path, seconds: float) -> None:
        remove(self.result)
        self.result.parent.mkdir(exist_ok=True)
        made.rename(self.result)
        self._write_record(done=True, seconds=round(seconds, 1))
        shutil.rmtree(self._work, ignore_errors=True)

    def _write_record(self, **status: Any) -> None:
        record = {"digest": self.digest, **status, "inputs": self.inputs}
        write_json(self._record_path, record)


def write_json(path: Path, content: Any) -> None:
    """Write JSON; see `write_text`."""
    write_text(path, json.dumps(content, indent=2, default=str, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a kill leaves the old one or the new one, never half of it."""
    temporary = path.with_suffix(path.suffix + ".partial")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def remove(path: Path) -> None:
    """Delete a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _what_changed(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if before is None:
        return "starts"
    current = json.loads(json.dumps(now, default=str))
    changed = sorted(key for key in {*before, *current} if before.get(key) != current.get(key))
    return f"starts anew, for these have changed: {', '.join(changed)}"
