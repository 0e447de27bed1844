"""Checkpoints of the Trainer: which one can be resumed from."""

import json
import re
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME


def last_complete_checkpoint(folder: str | Path) -> str | None:
    """Return the newest `checkpoint-N` that was written to its end, or None.

    The Trainer writes its state file last, so a folder without a readable one was cut off while it was saved.
    """
    found = [path for path in Path(folder).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    newest_first = sorted(found, key=lambda path: int(path.name.split("-")[1]), reverse=True)
    return next((str(path) for path in newest_first if _is_complete(path)), None)


def _is_complete(checkpoint: Path) -> bool:
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ValueError: neither JSON nor UTF-8
        return False
    return isinstance(state, dict) and "global_step" in state
