"""What serving costs: models beside one another, in every runtime that they have, with and without tokenisation."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer

from distilnlp.data import DataConfig, spread
from distilnlp.errors import DistillationError
from distilnlp.evaluation import measure_size
from distilnlp.files import unique_tails
from distilnlp.models.loading import load_pretrained
from distilnlp.models.running import bf16_is_fast
from distilnlp.runs.lengths import readable_length
from distilnlp.runs.measurement import environment
from distilnlp.runs.models import find_task, load_finished, student_folder
from distilnlp.runs.predicting import TorchPredictor, asked, rows_of
from distilnlp.screen import progress
from distilnlp.serving import FP32, INT8, OnnxPredictor
from distilnlp.tasks import Task

ROWS = 500  # that texts are drawn from
STARTS = 3  # processes whose start is timed
LEAST_TURNS = 4
DRAWS = 2_000  # of the bootstrap
MILLION = 1_000_000
# Each is run in a process of its own with the folder, the precision, the threads and, on standard input, what is asked.
COLD = {
    "torch": """
import json, sys, torch, transformers
folder, precision, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
texts, pairs = json.load(sys.stdin)
config = transformers.AutoConfig.from_pretrained(folder)
model = getattr(transformers, config.architectures[0]).from_pretrained(
    folder, dtype=torch.float32 if precision == "fp32" else torch.bfloat16
).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
if pairs and isinstance(pairs[0], list):
    texts, pairs = [text for text, own in zip(texts, pairs) for _ in own], [one for own in pairs for one in own]
read = tokenizer(texts, pairs, truncation=True, padding=True, return_tensors="pt")
if "MultipleChoice" in config.architectures[0]:
    read = {name: value.unsqueeze(0) for name, value in read.items()}
with torch.inference_mode():
    model(**read)
""",
    "ONNX": """
import json, sys
from distilnlp.serving import OnnxPredictor
folder, precision, threads = sys.argv[1:]
predict = OnnxPredictor(folder, precision=precision, threads=int(threads))
predict.run_session(predict.prepare(*json.load(sys.stdin)))
""",
}
# Of this program alone: what `getrusage` tells includes, on Linux, the process that started it.
PEAK = """
try:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
except OSError:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of what these print

Texts = tuple[list[str], list[Any] | None]


@dataclass(frozen=True)
class BenchmarkPlan:
    """How much is measured.

    Attributes:
        lengths: tokens after which texts are cut; None = where each model cuts them.
        batch_sizes: of the throughput.
        threads: of each model; the tokenizers have as many.
        seconds: for the latency of each model in each runtime, and again for each throughput.
    """

    lengths: Sequence[int | None] = (None,)
    batch_sizes: Sequence[int] = (8, 32)
    threads: int = 1
    seconds: float = 5.0


@dataclass
class Throughput:
    """How many texts a model answers, in batches of one size.

    Attributes:
        length: tokens after which texts are cut; None = where the model cuts them.
        batch_size: texts in a batch.
        per_second: texts a second, without tokenisation; the median batch.
        per_second_from_text: the same from texts.
        cpu_seconds: that a million texts take, from text, on all cores together.
        seconds: that a million texts take, from text.
        speed_up: of `per_second` over the first model's, with the bounds of its 95% interval.
        speed_up_from_text: the same from texts.
    """

    length: int | None
    batch_size: int
    per_second: float
    per_second_from_text: float
    cpu_seconds: float
    seconds: float
    speed_up: tuple[float, float, float]
    speed_up_from_text: tuple[float, float, float]


@dataclass
class Served:
    """What a model costs in a runtime.

    Attributes:
        model: name of it.
        runtime: `torch` or `ONNX`.
        precision: `fp32`, `bf16` or `int8`.
        bytes: of its weights or graph.
        latency_ms: the 50th, 95th and 99th percentile of one text, without tokenisation.
        latency_ms_from_text: the same from a text.
        speed_up: of the median latency from a text over the first model's, with the bounds of its 95% interval.
        throughput: at each length and batch size.
        peak_bytes: of the memory of a process that has answered one batch of the largest size.
        cold_start_seconds: from the start of that process to its end, the files in memory.
    """

    model: str
    runtime: str
    precision: str
    bytes: int
    latency_ms: tuple[float, float, float] = (0.0, 0.0, 0.0)
    latency_ms_from_text: tuple[float, float, float] = (0.0, 0.0, 0.0)
    speed_up: tuple[float, float, float] = (1.0, 1.0, 1.0)
    throughput: list[Throughput] = field(default_factory=list)
    peak_bytes: int | None = None
    cold_start_seconds: float | None = None

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.model}, {self.runtime} {self.precision}"


@dataclass(frozen=True)
class _Contender:
    served: Served
    folder: Path
    predictor: OnnxPredictor


def benchmark_saved(
    models: Sequence[str],
    data: DataConfig,
    plan: BenchmarkPlan | None = None,
    task: str | None = None,
    trusted: Collection[str] = (),
) -> dict[str, Any]:
    """Measure what serving models costs, each in torch and, where it is exported, in ONNX; all take turns.

    Args:
        models: local folders; the first in torch fp32 is what the others are compared with.
        data: texts; they need no labels.
        plan: how much is measured.
        task: of all; None = what the head of the first is for.
        trusted: names of the models whose own Python code may run.

    Returns:
        `models`, each `Served` as a mapping; `texts`, how many were drawn; `plan`; `environment`.

    Raises:
        DistillationError: a model or the rows cannot be read or do not fit.
    """
    plan = plan or BenchmarkPlan()
    if plan.threads < 1 or not plan.batch_sizes or min(plan.batch_sizes) < 1 or not plan.seconds > 0:
        raise DistillationError(f"expected at least 1 thread, batch size and second, but got {plan}. Give more.")
    kind = find_task(task, models[0], trusted)
    texts = _texts(data, kind)
    with _pinned(plan.threads):
        contenders = list(_contenders(models, kind, data, plan.threads, trusted))
        with progress("Timing single texts", unit="texts") as bar:
            _time_latency(contenders, texts, plan, bar)
        for length in plan.lengths:
            for size in plan.batch_sizes:
                with progress(f"Timing batches of {size}", unit="batches") as bar:
                    _time_throughput(contenders, texts, length, size, plan, bar)
        with progress("Starting processes", len(contenders) * STARTS, unit="processes") as bar:
            _time_starts(contenders, _take(texts, 0, max(plan.batch_sizes)), plan.threads, bar)
        where = environment()
    return {
        "models": [asdict(one.served) for one in contenders],
        "texts": len(texts[0]),
        "plan": asdict(plan),
        "environment": where,
    }


def _texts(data: DataConfig, task: Task) -> Texts:
    rows, layout = rows_of(data, task)
    firsts, others = asked(spread(rows, ROWS), 0, task, layout)
    filled = [place for place, text in enumerate(firsts) if isinstance(text, str) and text.strip()]
    if not filled:
        raise DistillationError("expected texts to time, but all rows are blank. Name another column or file.")
    return [firsts[place] for place in filled], None if others is None else [others[place] for place in filled]


def _take(texts: Texts, start: int, count: int) -> Texts:
    """Return some texts, the first again after the last; of choices one prompt, for prompts have different numbers."""
    firsts, others = texts
    count = 1 if others is not None and isinstance(others[0], list) else count
    places = [(start + step) % len(firsts) for step in range(count)]
    return [firsts[place] for place in places], None if others is None else [others[place] for place in places]


def _contenders(
    models: Sequence[str], task: Task, data: DataConfig, threads: int, trusted: Collection[str]
) -> Iterator[_Contender]:
    for name, path in zip(unique_tails(models), models, strict=True):
        folder = student_folder(path)
        model = load_finished(path, task, trusted).cpu()
        length = readable_length(data.max_length, load_pretrained(AutoTokenizer, path, trusted), model)
        size = measure_size(model).bytes
        in_torch = partial(TorchPredictor, folder, max_length=length)
        yield _Contender(Served(name, "torch", "fp32", size), folder, in_torch(model.float()))
        if bf16_is_fast():  # elsewhere it is many times slower than fp32
            half = load_finished(path, task, trusted).cpu().bfloat16()
            yield _Contender(Served(name, "torch", "bf16", size // 2), folder, in_torch(half))
        for precision, graph in (("fp32", FP32), ("int8", INT8)):
            if (folder / graph).is_file():
                served = Served(name, "ONNX", precision, (folder / graph).stat().st_size)
                predictor = OnnxPredictor(folder, precision=precision, threads=threads, max_length=length)
                yield _Contender(served, folder, predictor)


@contextmanager
def _pinned(threads: int) -> Iterator[None]:
    """Give torch and the tokenizers so many threads, in the block; the sessions of ONNX have their own number."""
    before, names = torch.get_num_threads(), {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    environ = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        for name, value in environ.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


# ---- Turns ----


def _turns(
    contenders: Sequence[_Contender], texts: Texts, size: int, seconds: float, warms: bool, bar: Any
) -> dict[str, NDArray]:
    """Let all take turns at the same batches, until each has had so many seconds.

    Args:
        contenders: in their order in a turn.
        texts: of which the batches are taken, one after another.
        size: texts in a batch.
        seconds: for each.
        warms: whether each timed pass comes after an untimed one on the same batch: a small model after a large one
            pays for the caches that it has lost, which is much of the time of a single text.
        bar: of the progress.

    Returns:
        By the names of what is measured the seconds `[turns, 3]` of reading and running, and of all cores together;
        the first turn is left out.
    """
    found: dict[str, list[tuple[float, float, float]]] = {one.served.name: [] for one in contenders}
    deadline, turn = time.perf_counter() + seconds * len(contenders), 0
    while turn < LEAST_TURNS or time.perf_counter() < deadline:
        batch = _take(texts, turn * size, size)
        for one in contenders:
            start, busy = time.perf_counter(), time.process_time()
            feed = one.predictor.prepare(*batch)
            read, busy_reading = time.perf_counter() - start, time.process_time() - busy
            if warms:
                one.predictor.run_session(feed)
            start, busy = time.perf_counter(), time.process_time()
            one.predictor.run_session(feed)
            run, busy_running = time.perf_counter() - start, time.process_time() - busy
            found[one.served.name].append((read, run, busy_reading + busy_running))
        bar.advance(1)
        turn += 1
    return {name: np.array(own[1:]) for name, own in found.items()}


def _time_latency(contenders: Sequence[_Contender], texts: Texts, plan: BenchmarkPlan, bar: Any) -> None:
    found = _turns(contenders, texts, 1, plan.seconds, True, bar)
    first = next(iter(found.values()))[:, :2].sum(-1)
    for one in contenders:
        own = found[one.served.name][:, :2]
        one.served.latency_ms, one.served.latency_ms_from_text = _percentiles(own[:, 1]), _percentiles(own.sum(-1))
        one.served.speed_up = _speed_up(first, own.sum(-1))


def _time_throughput(
    contenders: Sequence[_Contender], texts: Texts, length: int | None, size: int, plan: BenchmarkPlan, bar: Any
) -> None:
    cuts = [one.predictor.max_length for one in contenders]
    for one in contenders:
        one.predictor.max_length = min(length or sys.maxsize, one.predictor.max_length)
    found, count = _turns(contenders, texts, size, plan.seconds, False, bar), len(_take(texts, 0, size)[0])
    first = next(iter(found.values()))
    for one, cut in zip(contenders, cuts, strict=True):
        own, one.predictor.max_length = found[one.served.name], cut
        run, whole = own[:, 1], own[:, :2].sum(-1)
        one.served.throughput.append(
            Throughput(
                length=length,
                batch_size=count,
                per_second=count / float(np.median(run)),
                per_second_from_text=count / float(np.median(whole)),
                cpu_seconds=MILLION / count * float(np.median(own[:, 2])),
                seconds=MILLION / count * float(np.median(whole)),
                speed_up=_speed_up(first[:, 1], run),
                speed_up_from_text=_speed_up(first[:, :2].sum(-1), whole),
            )
        )


def _percentiles(seconds: NDArray) -> tuple[float, float, float]:
    low, high, highest = (float(1000 * np.percentile(seconds, share)) for share in (50, 95, 99))
    return low, high, highest


def _speed_up(first: NDArray, own: NDArray) -> tuple[float, float, float]:
    """Return the ratio of two medians with the bounds of its 95% interval, over draws of their common turns."""
    drawn = np.random.default_rng(0).integers(0, len(own), (DRAWS, len(own)))
    ratios = np.median(first[drawn], axis=-1) / np.median(own[drawn], axis=-1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return float(np.median(first) / np.median(own)), float(low), float(high)


# ---- Processes ----


def _time_starts(contenders: Sequence[_Contender], texts: Texts, threads: int, bar: Any) -> None:
    """Start a process for each that answers one batch: how long it lives, and the most memory that it takes."""
    seconds: dict[str, list[float]] = {one.served.name: [] for one in contenders}
    peaks: dict[str, list[int]] = {one.served.name: [] for one in contenders}
    for _ in range(STARTS):
        for one in contenders:
            served = one.served
            words = [sys.executable, "-c", COLD[served.runtime] + PEAK, str(one.folder), served.precision, str(threads)]
            start = time.perf_counter()
            done = subprocess.run(words, input=json.dumps(texts), capture_output=True, text=True, check=False)
            if done.returncode == 0:
                seconds[served.name].append(time.perf_counter() - start)
                peaks[served.name].append(int(done.stdout.split()[-1]) * UNIT)
            bar.advance(1)
    for one in contenders:
        if own := seconds[one.served.name]:
            one.served.cold_start_seconds = statistics.median(own)
            one.served.peak_bytes = max(peaks[one.served.name])
