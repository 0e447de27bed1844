"""The history of a training: what it logged, line by line, in a file that stays."""

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from distilnlp.files import remove, write_text

try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]


# What a log holds beside losses, scores and what they are weighed with.
BESIDE_FIGURES = ("epoch", "step", "seconds", "memory", "grad_norm", "total_flos")


class HistoryCallback(TrainerCallback):
    """Writes every event that the Trainer logs as a line of JSON.

    A line is the entry of `TrainerState.log_history`, with the seconds of training until then. That history is in the
    checkpoints: a training that goes on begins with the lines up to its checkpoint, and none is there twice. To each
    the most memory that was in use is added, in bytes, and to each with a loss the weights of its components.

    Args:
        path: of the file; the folder beside it, of the same name without suffix, is for what other trackers write.
        weights: of the components, as long as the Trainer logs no others, which change.
    """

    def __init__(self, path: Path, weights: Mapping[str, float] | None = None) -> None:
        self.path, self.weights, self._start = path, weights or {}, 0.0

    def on_train_begin(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        """Begin the file with what was logged before the checkpoint, if the training goes on from one."""
        before = state.log_history
        self._start = time.monotonic() - (before[-1].get("seconds", 0.0) if before else 0.0)
        if not state.is_world_process_zero:
            return
        self.path.parent.mkdir(exist_ok=True)
        if not before:
            remove(self.path.with_suffix(""))
        write_text(self.path, "".join(map(_line, before)))

    def on_log(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        """Add a line."""
        event = state.log_history[-1]
        event |= {"seconds": round(time.monotonic() - self._start, 3), "memory": _most_memory()}
        if "loss" in event:
            for name, weight in self.weights.items():
                event.setdefault(f"{name}_weight", weight)
        if state.is_world_process_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(event))


def keep_logs(work: Path, folder: Path, *others: str) -> None:
    """Copy what trackers such as TensorBoard left in a training's folder, beside the `others`, to one that stays."""
    for item in work.iterdir():
        if item.name in others or item.name.startswith(PREFIX_CHECKPOINT_DIR):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if item.is_dir():
            shutil.copytree(item, folder / item.name, dirs_exist_ok=True)
        else:
            shutil.copy2(item, folder / item.name)


def _most_memory() -> int:
    """Return the most memory that was in use, in bytes: of the accelerator, or of the process where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if resource is None:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, default=float) + "\n"
