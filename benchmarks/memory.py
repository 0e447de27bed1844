"""Memory: trainings from a cache, from a live teacher and without one, and the reading of a large cache.

python -m benchmarks.memory training --turns 3                         # peak of each, against plain fine-tuning
python -m benchmarks.memory read --gigabytes 10 --folder /some/disk    # reading in random order stays flat
python -m benchmarks.memory read --gigabytes 0.2                       # the same, small

Every case is a process of its own, so that none inherits another's peak. Anonymous memory (RssAnon: what the process
itself holds) is looked at every few milliseconds. Resident memory (VmHWM) is the kernel's own peak and includes the
pages of mapped files, which it takes back when it needs them. It is read from /proc, and not from getrusage, whose peak
includes that of the process that started this one. Linux alone; the host's memory, not a GPU's.

`training`: `plain` is `Trainer` on the labels; `cached` reads a cache that another process wrote, and has no teacher;
`given` is handed the teacher's model and writes the cache itself before it reads it; `live` runs the teacher beside the
student. Random weights, rows of --length tokens.

`read`: `CacheWriter` writes the hidden states of a teacher that costs nothing, of 7 layers of width 768, 1.4 MB a row
of 128 tokens; another process reads the rows in random order, in batches, as a training does.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from benchmarks.machine import described, now
from benchmarks.teacher_cache import Padded, distil, distil_from, finetune, live_teacher, write
from benchmarks.training_step import LABELS, make_model, make_rows
from distilnlp import CachedTeacher
from distilnlp.answers import CacheSettings, CacheWriter
from distilnlp.models.running import bf16_is_fast
from distilnlp.signals import Batch, SignalProfile, SignalRequest, Signals, token_mask
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION

WIDTH, LAYERS = 768, 7
EVERY = 0.004  # seconds between two looks
CASES = ("plain", "cached", "given", "live")
Figures = dict[str, float]


def status(name: str) -> float:
    """Return an entry of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1e3


class Watch(threading.Thread):
    """Keeps the highest anonymous memory of this process, from its start to `stop`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self._ended = 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(EVERY):
            self.peak = max(self.peak, status("RssAnon"))

    def stop(self) -> Figures:
        self._ended.set()
        self.join()
        return {"anonymous": self.peak, "resident": status("VmHWM")}


class FreeTeacher:
    """Answers at once: the same hidden state for every token."""

    columns = frozenset({"input_ids", "attention_mask"})
    profile = SignalProfile(None, LABELS, num_hidden_states=LAYERS, hidden_size=WIDTH, num_heads=12)

    def to(self, device: torch.device) -> None:
        """Do nothing."""

    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        state = torch.linspace(-1, 1, WIDTH).expand(*batch["input_ids"].shape, WIDTH)
        logits = torch.zeros(len(state), LABELS)
        return Signals(logits, token_mask(batch), dict.fromkeys(request.hidden_states, state))


# ---- What a process of its own does ----


def train(case: str, options: argparse.Namespace) -> Figures:
    watch = Watch()
    rows = make_rows(options.batch_size * options.steps, options.length, options.length)
    if case == "plain":
        finetune(options, rows)
    elif case == "cached":
        distil_from(options, options.folder, rows)
    else:
        off: dict[str, Any] = {"teacher_cache": "off"} if case == "live" else {}
        distil(options, make_model(options.teacher, seed=0), rows, **off)
    return watch.stop()


def write_logits(options: argparse.Namespace) -> Figures:
    rows = make_rows(options.batch_size * options.steps, options.length, options.length)
    write(options, options.folder, live_teacher(options), rows)
    return {}


def write_states(options: argparse.Namespace) -> Figures:
    start, request = now(), SignalRequest(hidden_states=frozenset(range(LAYERS)))
    rows, settings = state_rows(options), CacheSettings(batch_size=options.batch_size)
    task, identity = SINGLE_LABEL_CLASSIFICATION, {"teacher": "free"}
    CacheWriter(options.folder, rows, Padded(), task, FreeTeacher(), request, identity, settings).write()
    size = sum(file.stat().st_size for file in Path(options.folder).iterdir())
    return {"gigabytes": size / 1e9, "rows": len(rows), "seconds": now() - start}


def read_states(options: argparse.Namespace) -> Figures:
    """Read every row once, in random order; what is held after the first tenth is compared with what is held later."""
    rows, start = state_rows(options), now()
    teacher, collate = CachedTeacher(options.folder), Padded()
    opened, seconds, held, order = status("RssAnon"), now() - start, [], torch.randperm(len(rows)).tolist()
    watch, start = Watch(), now()
    for first in range(0, len(order), options.batch_size):
        chosen = [rows[index] for index in order[first : first + options.batch_size]]
        answers = teacher.look_up(chosen, {**collate(chosen)})
        assert all(bool(values.isfinite().all()) for values in answers.values())  # touches every number
        del answers
        held.append(status("RssAnon"))
    settled = held[len(held) // 10]
    growth = max(held[len(held) // 10 :]) - settled
    figures = {"opened": opened, "settled": settled, "growth": growth, "end": held[-1], "mapped": status("RssFile")}
    return {**figures, **watch.stop(), "opening seconds": seconds, "reading seconds": now() - start}


def state_rows(options: argparse.Namespace) -> Dataset:
    count = max(1, round(options.gigabytes * 1e9 / (2 * WIDTH * LAYERS * options.length)))
    return make_rows(count, options.length, options.length)


# ---- What the first process does ----

PROCESSES: dict[str, Callable[[argparse.Namespace], Figures]] = {
    **{case: lambda options, case=case: train(case, options) for case in CASES},  # type: ignore[misc]
    "write-logits": write_logits,
    "write-states": write_states,
    "read-states": read_states,
}


def in_process(name: str, folder: str, options: argparse.Namespace) -> Figures:
    """Run one of `PROCESSES` and return its figures."""
    values = {**vars(options), "folder": folder}
    command = [sys.executable, "-m", "benchmarks.memory", options.what, "--process", name, "--values"]
    done = subprocess.run([*command, json.dumps(values)], stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare_trainings(folder: str, options: argparse.Namespace) -> None:
    in_process("write-logits", folder, options)
    turns: list[dict[str, Figures]] = []
    for turn in range(options.turns):
        start = now()
        turns.append({case: in_process(case, folder, options) for case in CASES})
        if not turn:
            print(f"{(now() - start) * (options.turns - 1):.0f} s to come", flush=True)
    print("\n| training | anonymous, MB | / plain | resident, MB | / plain |\n|---|---|---|---|---|")
    for case in CASES:
        cells = [cell for kind in ("anonymous", "resident") for cell in compared(turns, case, kind)]
        print(f"| {case} | {' | '.join(cells)} |")


def compared(turns: list[dict[str, Figures]], case: str, kind: str) -> tuple[str, str]:
    """Return the median of a case in MB, and that of its ratios to plain fine-tuning with the spread."""
    ratios = [turn[case][kind] / turn["plain"][kind] for turn in turns]
    held = statistics.median(turn[case][kind] for turn in turns)
    return f"{held:.0f}", f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def compare_reading(folder: str, options: argparse.Namespace) -> None:
    needed, free = 1.1 * options.gigabytes * 1e9, shutil.disk_usage(folder).free
    if needed > free:
        raise SystemExit(f"{needed / 1e9:.1f} GB are needed, but {folder} has {free / 1e9:.1f} GB free.")
    written = in_process("write-states", folder, options)
    print({name: round(value, 2) for name, value in written.items()}, flush=True)
    found = in_process("read-states", folder, options)
    print({name: round(value, 2) for name, value in found.items()})
    print("\n| cache, GB | rows | anonymous when opened, MB | after a tenth of the rows | growth after that | peak |")
    print("|---|---|---|---|---|---|")
    cells = [found[name] for name in ("opened", "settled", "growth", "anonymous")]
    print(f"| {written['gigabytes']:.1f} | {written['rows']} | {' | '.join(f'{cell:.0f}' for cell in cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("training", "read"))
    parser.add_argument("--teacher", default="12x768", help="layers x width")
    parser.add_argument("--student", default="6x384", help="layers x width")
    parser.add_argument("--steps", type=int, default=4, help="of each training's epoch")
    parser.add_argument("--timed-epochs", type=int, default=2, help="of each training")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.1, help="of the student")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of the cache that is read")
    parser.add_argument("--folder", default=None, help="where caches are written, and deleted; default: the system's")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=bf16_is_fast())
    parser.add_argument("--process", choices=PROCESSES, help=argparse.SUPPRESS)
    parser.add_argument("--values", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        print(json.dumps(PROCESSES[options.process](argparse.Namespace(**options.values))))
        return
    del options.process, options.values
    print(f"{described()}\n{vars(options)}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        compare: Any = {"training": compare_trainings, "read": compare_reading}[options.what]
        compare(folder, options)


if __name__ == "__main__":
    main()
