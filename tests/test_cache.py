"""Cached answers: the same as the teacher's own for every task, found by content, refused where something differs."""

import itertools
import multiprocessing
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from filelock import FileLock
from torch import Tensor
from tqdm.auto import tqdm

from distilnlp.answers import (
    AnswerStore,
    CachedTeacher,
    CacheSettings,
    CacheWriter,
    read_manifest,
    records,
    store,
)
from distilnlp.answers.row_keys import dataset_keys
from distilnlp.answers.writing import key_columns
from distilnlp.errors import DistillationError
from distilnlp.losses import forward_kl
from distilnlp.screen import Bar, Screen
from distilnlp.signals import SignalRequest, Signals
from distilnlp.tasks import TASKS
from distilnlp.teachers import DistillationCollator, LiveTeacher, LookUp
from tests.distributed_cache import train_from
from tests.tiny import tiny_tokenizer
from tests.tiny_tasks import task_data, task_rows, task_teacher
from tests.two_processes import in_two_processes

LOGITS = SignalRequest()
STATES = SignalRequest(hidden_states=frozenset({0, 2}), qkv=frozenset({1}))
EXACT = CacheSettings(dtype="float32", top_k=1000, batch_size=3)


def writer(
    folder: Path,
    task: str = "single_label_classification",
    rows: Dataset | None = None,
    request: SignalRequest = LOGITS,
    settings: CacheSettings = EXACT,
    identity: dict[str, Any] | None = None,
) -> CacheWriter:
    teacher = LiveTeacher(task_teacher(task))
    rows = task_data(task, 5, 6) if rows is None else rows
    columns = [name for name in key_columns(TASKS[task], teacher.columns) if name in rows.column_names]
    collate = TASKS[task].collator(tiny_tokenizer())
    identity = identity or {"teacher": teacher.fingerprint}
    kinds = TASKS[task]
    return CacheWriter(folder, rows.select_columns(columns), collate, kinds, teacher, request, identity, settings)


def write(*args: Any, **options: Any) -> CacheWriter:
    made = writer(*args, **options)
    made.write()
    return made


def answers(folder: Path, task: str, rows: list[dict[str, Any]], request: SignalRequest) -> tuple[Signals, Any]:
    """What the cache and the teacher itself say of a batch."""
    teacher, live = CachedTeacher(folder), LiveTeacher(task_teacher(task))
    columns = live.columns | TASKS[task].loss_inputs | {"label", "labels", "length"}
    batch = DistillationCollator(TASKS[task].collator(tiny_tokenizer()), look_up=LookUp(teacher, columns))(rows)
    return teacher(batch, request), live(batch, request), batch


def counted(task: str, batch: dict[str, Tensor], logits: Tensor) -> Tensor:
    kind = TASKS[task]
    items = kind.item_logits(logits)[kind.valid_items(batch)]
    exists = kind.class_mask(batch)
    return items if exists is None else items.masked_fill(~exists[kind.valid_items(batch)], 0.0)


@pytest.mark.parametrize("task", TASKS)
def test_cached_answers_are_the_teachers_own_in_any_order_and_company(task: str, tmp_path: Path) -> None:
    write(tmp_path, task, request=STATES)
    rows = task_rows(task, 5, 6)
    for chosen in ([7, 2, 0], [4], list(range(11))):
        cached, live, batch = answers(tmp_path, task, [rows[i] for i in chosen], STATES)
        torch.testing.assert_close(counted(task, batch, cached.logits), counted(task, batch, live.logits))
        assert torch.equal(cached.mask, live.mask)
        for index in STATES.hidden_states:
            wanted, got = live.hidden_states[index][live.mask], cached.hidden_states[index][live.mask]
            torch.testing.assert_close(got, wanted)
        for got, wanted in zip(cached.qkv[1], live.qkv[1], strict=True):
            real = live.mask[:, None, :, None].expand_as(wanted)
            torch.testing.assert_close(got[real], wanted[real])


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_the_rest_of_a_vocabulary_shares_its_mass_evenly(temperature: float, tmp_path: Path) -> None:
    write(tmp_path, "masked_lm", settings=CacheSettings("float32", top_k=4, temperature=temperature))
    cached, live, _ = answers(tmp_path, "masked_lm", task_rows("masked_lm", 5, 6), SignalRequest())
    kept, whole = (signals.logits.div(temperature).softmax(-1) for signals in (cached, live))
    for got, wanted in zip(kept.tolist(), whole.tolist(), strict=True):
        top = sorted(range(len(wanted)), key=lambda token: -wanted[token])[:4]
        rest = (1 - sum(wanted[token] for token in top)) / (len(wanted) - 4)
        assert got == pytest.approx([wanted[t] if t in top else rest for t in range(len(wanted))], abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("top_k", [4, 1000])
def test_the_soft_loss_of_kept_answers_pulls_as_the_live_one(temperature: float, top_k: int, tmp_path: Path) -> None:
    """A kept token feels the live pull, the others together too; where all are kept, the loss is the same."""
    write(tmp_path, "masked_lm", settings=CacheSettings("float32", top_k=top_k, temperature=temperature))
    cached, live, _ = answers(tmp_path, "masked_lm", task_rows("masked_lm", 5, 6), SignalRequest())
    student = torch.randn(live.logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pulls, values = [], []
    for teacher in (cached, live):
        own = student.clone().requires_grad_()
        values.append(forward_kl(own, teacher.logits.double(), temperature))
        values[-1].backward()
        pulls.append(own.grad)
    kept = live.logits >= live.logits.topk(min(top_k, live.logits.shape[-1]), dim=-1).values[:, -1:]
    difference = pulls[0] - pulls[1]
    assert difference[kept].abs().max() < 1e-6
    assert difference.masked_fill(kept, 0).sum(dim=-1).abs().max() < 1e-6
    if top_k == 1000:
        assert abs(values[0] - values[1]) < 1e-6
        assert difference.abs().max() < 1e-6


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_the_error_of_half_precision_is_measured(dtype: str, bound: float, tmp_path: Path) -> None:
    manifest_error = AnswerStore(write(tmp_path, settings=CacheSettings(dtype)).folder).manifest.error["logits"]
    rows = task_rows("single_label_classification", 5, 6)
    cached, live, _ = answers(tmp_path, "single_label_classification", rows, SignalRequest())
    error = (cached.logits.float() - live.logits).abs().max().item()
    assert 0 < error <= manifest_error * 1.01
    assert manifest_error <= bound * live.logits.abs().max().item()


# ---- What differs is refused ----


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"identity": {"teacher": "another"}}, "teacher"),
        ({"settings": CacheSettings("float16", 1000, 3)}, "dtype"),
        ({"request": STATES}, "hidden states"),
        ({"rows": task_data("single_label_classification", 4, 4, seed=9)}, "data"),
    ],
)
def test_another_cache_in_the_folder_is_refused_by_what_differs(changed: Any, named: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DistillationError, match=f"another cache.*{named}"):
        write(tmp_path, **changed)


def test_rows_that_were_never_asked_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    teacher = CachedTeacher(tmp_path)
    rows = task_data("single_label_classification", 5, 6)
    teacher.check_rows(rows.shuffle(seed=1).select(range(4)), "training")
    other = task_data("single_label_classification", 2, 2, seed=7)
    with pytest.raises(DistillationError, match=r"of the 4 rows of the training data are not in the cache.*max_length"):
        teacher.check_rows(other, "training")


def test_a_signal_that_was_not_kept_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DistillationError, match=r"need hidden states of the layers \[0, 2\].*holds nothing beside"):
        answers(tmp_path, "single_label_classification", task_rows("single_label_classification", 5, 6), STATES)


def test_attention_maps_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="attention maps are not kept"):
        write(tmp_path, request=SignalRequest(attentions=frozenset({1})))


def test_pre_activations_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="pre-activations are not kept"):
        write(tmp_path, request=SignalRequest(pre_activations=frozenset({1})))


def test_numbers_beyond_float16_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loud(self: Any, batch: Any, request: Any) -> Signals:
        return Signals(logits=torch.full((len(batch["input_ids"]), 3), 1e5))

    monkeypatch.setattr(LiveTeacher, "__call__", loud)
    with pytest.raises(DistillationError, match=r"fit into float16.*up to 1e\+05"):
        write(tmp_path, settings=CacheSettings("float16"))


# ---- Damage and kills ----


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.fixture
def many() -> Dataset:
    return task_data("single_label_classification", 150, 150)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def flip_a_byte(path: Path, place: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [flip_a_byte, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-100])], ids=range(3)
)
def test_a_damaged_shard_is_found_and_it_alone_is_computed_again(
    damage: Callable[[Path], None], tmp_path: Path, many: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, rows=many)
    before = contents(tmp_path)
    assert len(shards(tmp_path)) == 3
    damage(shards(tmp_path)[1])
    with pytest.raises(DistillationError, match=r"1 of the 3 shards.*shard-00001"):
        CachedTeacher(tmp_path)
    written = []
    original = CacheWriter._write_shard
    monkeypatch.setattr(
        CacheWriter, "_write_shard", lambda self, n, *more: (written.append(n), original(self, n, *more))
    )
    write(tmp_path, rows=many)
    assert written == [1]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("stop_at", range(6))
def test_a_writer_that_stops_anywhere_goes_on_to_the_same_bytes(
    stop_at: int, tmp_path: Path, many: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "whole", rows=many)
    calls = iter(range(100))

    def broken(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == stop_at:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr("distilnlp.answers.writing.write_shard", broken(store.write_shard))
        patch.setattr("distilnlp.answers.writing.record_shard", broken(records.record_shard))
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "stopped", rows=many)
    with pytest.raises(DistillationError, match="not written to its end"):
        CachedTeacher(tmp_path / "stopped")
    write(tmp_path / "stopped", rows=many)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_full_disk_loses_nothing(tmp_path: Path, many: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "whole", rows=many)
    original, full = store.write_shard, iter([False, True])

    def until_full(*args: Any) -> None:
        if next(full):
            raise OSError(28, "No space left on device")
        original(*args)

    with monkeypatch.context() as patch:
        patch.setattr("distilnlp.answers.writing.write_shard", until_full)
        with pytest.raises(DistillationError, match="full: 1 of 3 shards of the cache are finished and stay usable"):
            write(tmp_path / "full", rows=many)
    write(tmp_path / "full", rows=many)
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def test_a_cache_that_cannot_fit_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 300}))
    with pytest.raises(DistillationError, match=r"needs about .* has 300 bytes free"):
        write(tmp_path)
    assert shards(tmp_path) == []


def test_logits_take_little_more_than_their_numbers(tmp_path: Path, many: Dataset) -> None:
    write(tmp_path, rows=many, settings=CacheSettings())
    rows = len(set(map(bytes, dataset_keys(many, ("attention_mask", "input_ids", "token_type_ids")))))
    size = sum(path.stat().st_size for path in shards(tmp_path))
    headers = 400 * len(shards(tmp_path))  # safetensors' own, whatever the rows
    assert size - headers <= rows * (1.2 * 2 * 3 + 40)


def test_progress_counts_rows_batch_by_batch(tmp_path: Path, many: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int | None]] = []

    class Told(Screen):
        def moved(self, bar: Bar) -> None:
            told.append((bar.done, bar.total))

    monkeypatch.setattr("distilnlp.screen.choice._screen", Told())
    rows = write(tmp_path, rows=many, settings=CacheSettings("float32", batch_size=32)).manifest.rows
    assert told[-1] == (rows, rows)
    done = [0, *(each for each, _ in told)]
    assert max(after - before for before, after in itertools.pairwise(done)) == 32


def test_who_comes_second_waits_for_the_first(tmp_path: Path, many: Dataset, caplog: Any) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    held = threading.Event()

    def hold() -> None:
        with FileLock(tmp_path / "lock"):
            held.set()
            time.sleep(0.5)

    first = threading.Thread(target=hold)
    first.start()
    held.wait()
    write(tmp_path, rows=many)
    assert "waits for another process" in caplog.text
    first.join()
    assert len(shards(tmp_path)) == 3


@pytest.mark.parametrize("place", range(0, 900, 97))
def test_a_manifest_with_a_flipped_byte_is_refused_or_written_anew(place: int, tmp_path: Path) -> None:
    whole = contents(write(tmp_path).folder)
    flip_a_byte(tmp_path / "manifest.json", place)
    for attempt in (lambda: CachedTeacher(tmp_path), lambda: write(tmp_path)):
        with pytest.raises(DistillationError, match=r"manifest.json is damaged.*Delete the folder"):
            attempt()
    assert store.damaged_shards(tmp_path) == ["manifest.json"]
    writer(tmp_path).write(overwrite=True)
    assert contents(tmp_path) == whole


def write_slowly(folder: Path, rows: Dataset) -> None:
    tqdm.set_lock(threading.RLock())  # its own is shared with the tests, and a kill would leave it held
    original = CacheWriter._answer

    def answer(self: CacheWriter, batch: Any) -> Any:
        time.sleep(0.002)
        return original(self, batch)

    CacheWriter._answer = answer  # type: ignore[method-assign]  # in a process of its own
    write(folder, rows=rows)


def test_a_writer_killed_at_any_moment_is_finished_to_the_same_bytes(tmp_path: Path, many: Dataset) -> None:
    write(tmp_path / "whole", rows=many)
    whole, moments = contents(tmp_path / "whole"), random.Random(0)
    unfinished = 0
    for number in range(20):
        path = tmp_path / str(number)
        process = multiprocessing.get_context("fork").Process(target=write_slowly, args=(path, many))
        process.start()
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.join()
        manifest = read_manifest(path)
        unfinished += manifest is None or not manifest.is_finished
        write(path, rows=many)
        assert contents(path) == whole
    assert unfinished > 5


def test_what_a_kill_cut_off_is_no_part_of_a_finished_cache(tmp_path: Path, many: Dataset) -> None:
    write(tmp_path / "whole", rows=many)
    (tmp_path / "killed").mkdir()
    for name in (".tmpX1y2Z3", "shard-00000.partial"):  # of safetensors, and of ours
        (tmp_path / "killed" / name).write_bytes(b"half")
    write(tmp_path / "killed", rows=many)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_two_processes_write_the_bytes_of_one_and_train_alike(tmp_path: Path) -> None:
    alone = train_from(tmp_path / "alone", 1)
    together = in_two_processes("tests.distributed_cache", tmp_path / "two.pt", timeout=120)
    assert contents(tmp_path / "two.cache") == contents(tmp_path / "alone")
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5, msg=name)
    again = train_from(tmp_path / "two.cache", 1)
    for name, value in alone.items():
        assert torch.equal(again[name], value), name
