"""Damage: killed runs, finished runs and full disks, each gone on with by the same command.

python -m benchmarks.damage                      # all of it: 101 cases, tiny models, the CPU
python -m benchmarks.damage --only finished      # or killed, or full
python -m benchmarks.damage --share 0.1          # a tenth of the cases

A run fine-tunes a teacher, keeps its answers, distils a student with a projection and balanced losses, and trains a
baseline. `killed`: it is killed (SIGKILL) at one of several points, and then one of its files is damaged: a bit is
flipped, or it is cut off, emptied or deleted. `finished`: a finished run is damaged so. `full`: the run's disk is full
at some moment (a small tmpfs, for which the script must be root; else files can only be so large), and then has room.

What the same command ends with is counted: the models (to 1e-6) and figures of an undisturbed run; a message that says
what to do; another result in silence; a traceback. The last two should be 0, and then the script exits with 0.
Every run is a child forked from a process that has imported everything.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import torch
import yaml
from datasets import DatasetDict
from safetensors.torch import load_file
from transformers import Trainer

from benchmarks.machine import described
from distilnlp.answers import CacheWriter
from distilnlp.cli.commands import main as command
from distilnlp.runs.stages import Stage
from tests.tiny import tiny_model, tiny_rows, tiny_tokenizer

UNDISTURBED, MESSAGE, SILENT, TRACEBACK = "as undisturbed", "a message", "another result", "a traceback"
CASES = {"killed": 50, "finished": 39, "full": 12}
TOLERANCE = 1e-6
STEPS = 8  # of each training
# Where a run is killed: at which call of what.
POINTS: dict[str, tuple[Any, str, int]] = {
    "while the teacher trains": (Trainer, "training_step", 6),
    "while the teacher answers": (CacheWriter, "_write_shard", 2),
    "while the student trains": (Trainer, "training_step", STEPS + 6),
    "while a checkpoint is written": (Trainer, "_save_rng_state", STEPS // 2 + 3),
    "while the student is moved": (Stage, "_write_record", 8),
    "while the baseline trains": (Trainer, "training_step", 2 * STEPS + 7),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flipped": flip,
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": Path.unlink,
}


class Workshop:
    """A folder with a teacher to be, data, a recipe, and an undisturbed run of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        model = tiny_model(num_hidden_layers=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        model.save_pretrained(folder / "encoder")
        tiny_tokenizer().save_pretrained(folder / "encoder")
        rows = DatasetDict(train=tiny_rows(60, unlabelled=240), test=tiny_rows(30, seed=1))  # answers in three shards
        rows.save_to_disk(str(folder / "data"))
        datasets.config.HF_DATASETS_CACHE = folder / "datasets"
        length = {"max_steps": STEPS, "per_device_train_batch_size": 48, "learning_rate": 5e-3}  # rows are read twice
        training = {**length, "save_steps": 2, "logging_steps": 2, "disable_tqdm": True, "bf16": False}
        own = {"losses": [{"name": "hidden_state_mse"}], "balance_losses": True, "teacher_dtype": "float32"}
        recipe = {
            "teacher": {"model": str(folder / "encoder"), "finetune": training},
            "data": {"source": str(folder / "data")},
            "student": {"num_layers": 1, "hidden_size": 8},
            "training": {**training, **own},
            "baseline": {"max_steps": STEPS},
            "evaluation": {"speed": False, "bootstrap_resamples": 100},
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        self.whole = folder / "whole"
        status, text = self.run(self.whole)
        assert status == 0, text

    def run(self, output: Path, prepare: Callable[[], Any] = lambda: None) -> tuple[int, str]:
        """Give the command in a child, and return its exit status (-9 = killed) and what it printed."""
        log = self.folder / "log.txt"
        child = os.fork()
        if not child:
            status = 99
            try:
                with log.open("w") as file:
                    os.dup2(file.fileno(), 1)
                    os.dup2(file.fileno(), 2)
                prepare()
                status = command(["distill", str(self.folder / "recipe.yaml"), "--output", str(output)])
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), log.read_text(errors="replace")

    def outcome(self, output: Path) -> tuple[str, str]:
        """Give the command again, and return how it ended, with what it said."""
        status, text = self.run(output)
        if status in (1, 2) and "distilnlp: " in text and "Traceback" not in text:
            return MESSAGE, text[text.rindex("distilnlp: ") :].strip()
        if status != 0:
            return TRACEBACK, text[-600:]
        difference = max(self._difference(output, name) for name in ("student", "baseline", "teacher"))
        if difference > TOLERANCE or self._figures(output) != self._figures(self.whole):
            return SILENT, f"weights differ by {difference:.1e}"
        return UNDISTURBED, "" if difference == 0 else f"{difference:.1e}"

    def _difference(self, output: Path, name: str) -> float:
        ours, theirs = (load_file(run / name / "model.safetensors") for run in (output, self.whole))
        return max(float((ours[key] - theirs[key]).abs().max()) for key in theirs)

    def _figures(self, output: Path) -> dict[str, Any]:
        text = (output / "results.json").read_text(encoding="utf-8")
        return json.loads(text, parse_float=lambda number: round(float(number), 4))["models"]


# ---- The cases: what each does to a folder, by its name ----

Case = tuple[str, Callable[[Path], tuple[str, str]]]


def killed(workshop: Workshop, count: int, chance: random.Random) -> Iterator[Case]:
    snapshots = {}
    for number, (point, where) in enumerate(POINTS.items()):
        snapshot = workshop.folder / f"killed-{number}"
        status, text = workshop.run(snapshot, lambda where=where: kill_at(*where))
        assert status == -signal.SIGKILL, f"{point}: {status} {text[-2000:]}"
        snapshots[point] = snapshot
    yield from damaged(workshop, snapshots, count, chance)


def finished(workshop: Workshop, count: int, chance: random.Random) -> Iterator[Case]:
    yield from damaged(workshop, {"finished": workshop.whole}, count, chance)


def damaged(workshop: Workshop, states: dict[str, Path], count: int, chance: random.Random) -> Iterator[Case]:
    """Yield damages to files: every kind of file has its turn before one has its second."""
    possible = [
        (state, path.relative_to(folder), damage)
        for state, folder in states.items()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
        for damage in DAMAGES
        if path.stat().st_size or damage == "deleted"
    ]
    chance.shuffle(possible)
    turns: collections.Counter[str] = collections.Counter()
    order = []
    for state, name, damage in possible:
        kind = re.sub(r"\d+", "N", str(name))
        turns[kind] += 1
        order.append((turns[kind], state, name, damage))
    for _, state, name, damage in sorted(order, key=lambda entry: entry[0])[:count]:

        def spoil(output: Path, state: str = state, name: Path = name, damage: str = damage) -> tuple[str, str]:
            shutil.copytree(states[state], output)
            DAMAGES[damage](output / name)
            return workshop.outcome(output)

        yield f"{state}: {name} {damage}", spoil


def full(workshop: Workshop, count: int, chance: random.Random) -> Iterator[Case]:
    needed = sum(path.stat().st_size + 4096 for path in workshop.whole.rglob("*"))
    for number in range(count):
        size = int(needed * (number + 0.5 + chance.uniform(-0.4, 0.4)) / count)

        def fill(output: Path, size: int = size) -> tuple[str, str]:
            with small_disk(output, size) as (prepare, make_room):
                status, text = workshop.run(output / "out", prepare)
                if status != 1 or "Traceback" in text:
                    return (TRACEBACK if status else UNDISTURBED), f"status {status} {text[-600:] if status else ''}"
                make_room()
                return workshop.outcome(output / "out")

        yield f"a disk of {size / 1e3:.0f} KB", fill


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[tuple[Callable[[], Any], Callable[[], Any]]]:
    """Make a folder a disk of so many bytes; yield what a child is to do first, and what makes room."""
    folder.mkdir()
    tmpfs = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(tmpfs, capture_output=True, check=False).returncode:
        largest = size // 10
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)), lambda: None
        return
    try:
        remount = ["mount", "-o", "remount,size=1g", str(folder)]
        yield lambda: None, lambda: subprocess.run(remount, check=True)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def kill_at(owner: Any, name: str, call: int) -> None:
    """Make this process kill itself at the given call of a method."""
    original, calls = getattr(owner, name), iter(range(1, sys.maxsize))

    def counted(*args: Any, **options: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **options)

    setattr(owner, name, counted)


KINDS = {"killed": killed, "finished": finished, "full": full}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--share", type=float, default=1.0, help="of the cases")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    print(described(), flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        workshop = Workshop(Path(name))
        for kind in [options.only] if options.only else KINDS:
            outcomes: collections.Counter[str] = collections.Counter()
            cases = KINDS[kind](workshop, max(1, round(CASES[kind] * options.share)), random.Random(options.seed))
            for case, carry_out in cases:
                output = workshop.folder / "case"
                how, detail = carry_out(output)
                outcomes[how] += 1
                print(f"{how:15} {case}  {detail}", flush=True)
                shutil.rmtree(output)
            rows.append((kind, outcomes))
    columns = [UNDISTURBED, MESSAGE, SILENT, TRACEBACK]
    print(f"\n| | cases | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for kind, outcomes in rows:
        print(f"| {kind} | {outcomes.total()} | {' | '.join(str(outcomes[how]) for how in columns)} |")
    return int(any(outcomes[SILENT] + outcomes[TRACEBACK] for _, outcomes in rows))


if __name__ == "__main__":
    sys.exit(main())
