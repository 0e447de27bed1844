"""Checkpoints of the Trainer: sealed when they are complete, and which one can be resumed from."""

import json
import logging
import re
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from distilnlp.errors import DistillationError
from distilnlp.files import altered, checksums, read_record, remove, write_record

logger = logging.getLogger(__name__)

SEAL = "checksums.json"
# What the Trainer needs to go on as if nothing had happened, each as one file of several names.
OF_DEEPSPEED = "global_step*/*_states.pt"  # it keeps all but the random state there
PARTS = {
    "weights": ("model*.safetensors", "pytorch_model*", "adapter_model*", OF_DEEPSPEED),
    "optimizer": ("optimizer*", OF_DEEPSPEED),
    "learning rate schedule": ("scheduler.pt", OF_DEEPSPEED),
    "random state": ("rng_state*.pth",),
}


def seal_checkpoint(folder: str | Path, step: int) -> None:
    """Write down the checksum of every file of `checkpoint-{step}`, which is complete; called on every process."""
    state, checkpoint = PartialState(), Path(folder, f"{PREFIX_CHECKPOINT_DIR}-{step}")
    state.wait_for_everyone()  # each process writes a random state of its own
    if state.is_main_process:
        (checkpoint / SEAL).unlink(missing_ok=True)  # of an earlier one of that number
        write_record(checkpoint / SEAL, {"files": checksums(checkpoint)})


def last_complete_checkpoint(folder: str | Path, loads_best: bool = False) -> str | None:
    """Return the newest `checkpoint-N` that can be resumed from, or None; called on every process.

    One that was cut off while it was saved, was damaged since or lacks a part is passed over, with a warning; where the
    training ends with its best checkpoint (`loads_best`), so is one whose best is missing or damaged.
    """
    found = None
    if PartialState().is_main_process:
        for checkpoint in _checkpoints(Path(folder)):
            wrong = _what_is_wrong(checkpoint, loads_best)
            if wrong is None:
                found = str(checkpoint)
                break
            logger.warning("%s is passed over: %s", checkpoint, wrong)
    return broadcast_object_list([found])[0]


def forget_newer(folder: str | Path, resumed: str | None) -> None:
    """Delete the checkpoints of a folder that are newer than the one that a training goes on from; all without one.

    They were passed over, and the Trainer, which keeps the newest by their numbers, would delete what is written now.
    """
    for checkpoint in _checkpoints(Path(folder)):
        if str(checkpoint) == resumed:
            return
        remove(checkpoint)


def checkpoint_to_resume(args: TrainingArguments) -> str | bool:
    """Return what `resume_from_checkpoint=True` means: the newest complete checkpoint, else what the Trainer decides.

    Raises:
        DistillationError: there are checkpoints, but none of them is complete.
    """
    folder = Path(str(args.output_dir))
    complete = last_complete_checkpoint(folder, args.load_best_model_at_end)
    if complete or args.save_only_model or not _checkpoints(folder):
        return complete or True
    raise DistillationError(
        f"none of the checkpoints in {folder} can be resumed from: each is damaged or lacks a part (see the "
        "warnings). Train without resume_from_checkpoint, or name the one whose parts are to be used all the same."
    )


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the newest first."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]), reverse=True)


def absent_parts(checkpoint: Path) -> list[str]:
    """Return which of `PARTS` a checkpoint lacks."""
    return [part for part, names in PARTS.items() if not any(any(checkpoint.glob(name)) for name in names)]


def _what_is_wrong(checkpoint: Path, loads_best: bool = False) -> str | None:
    """Return why a checkpoint cannot be resumed from; the plain Trainer's have no seal, but the same parts."""
    if absent := absent_parts(checkpoint):
        return f"it has no {' and no '.join(absent)}"
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        seal = read_record(checkpoint / SEAL)
    except (OSError, ValueError) as error:  # ValueError: neither JSON nor UTF-8
        return f"it was cut off while it was saved, or damaged since ({error})"
    if not (isinstance(state, dict) and "global_step" in state):
        return f"its {TRAINER_STATE_NAME} is damaged"
    if seal and (changed := altered(checkpoint, seal["files"])):
        return ", ".join(changed)
    best = checkpoint.with_name(Path(state.get("best_model_checkpoint") or checkpoint).name)
    if best == checkpoint or not loads_best:
        return None
    wrong = _what_is_wrong(best) if best.is_dir() else "it is missing"
    return f"of {best.name}, the best until then: {wrong}" if wrong else None
