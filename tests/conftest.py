"""What several test files share: no network, one thread, quiet libraries, and short ways to a tokenised data set."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once
# Before anything imports torch: else MKL's last bits depend, on some processors, on where in memory a tensor lies, and
# what is loaded from a file lies elsewhere. Tests that compare to the last bit would fail there.
os.environ.setdefault("MKL_CBWR", "COMPATIBLE")

import gc
import ipaddress
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import evaluate
import hypothesis
import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, PreTrainedModel
from transformers.utils import logging as transformers_logging

from distilnlp import DistillationTrainer, DistillationTrainingArguments
from distilnlp.runs import steps
from distilnlp.runs.exporting import runtimes_of
from tests.tiny import tiny_model, tiny_rows, tiny_tokenizer

gc.freeze()  # accelerate collects garbage after every training, and the imports left much to look through
torch.set_num_threads(1)  # threads cost more than they bring on models of this size
datasets.disable_progress_bars()
transformers_logging.disable_progress_bar()
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("repeatable")

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Make every connection to another machine fail, so that no test can need one."""
    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, _only_here(getattr(socket.socket, name)))
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def no_usual_exports() -> Iterator[None]:
    """Export only where a recipe says so: an export takes seconds, and hundreds of tests run a recipe."""
    patch = pytest.MonkeyPatch()
    patch.setattr(steps, "runtimes_of", lambda config: [] if config.formats is None else runtimes_of(config))
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what datasets and evaluate write apart from the user's and from that of tests in other processes."""
    folder = tmp_path_factory.mktemp("datasets")
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_DATASETS_CACHE", str(folder))  # of processes that tests start
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    patch.setattr(evaluate.config, "HF_MODULES_CACHE", folder / "modules")
    patch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", folder / "downloads")
    patch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", folder / "downloads" / "extracted")
    yield
    patch.undo()


def _only_here(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise ConnectionRefusedError(f"a test tried to connect to {address}: tests must not use the network")
        return connect(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tokenised(rows: Dataset, *text_columns: str) -> Dataset:
    """Tokenise the text columns (default: `text`) of rows, which keep their other columns."""
    tokenizer, columns = tiny_tokenizer(), text_columns or ("text",)
    return rows.map(lambda batch: tokenizer(*(batch[name] for name in columns)), batched=True)


def tiny_data(count: int = 8, unlabelled: int = 0, seed: int = 0) -> Dataset:
    """Tokenised `tiny_rows`."""
    return tokenised(tiny_rows(count, unlabelled, seed))


def sharp(model: PreTrainedModel, factor: float = 20.0) -> PreTrainedModel:
    """Spread a tiny model's logits, which are otherwise almost uniform and would hide mistakes."""
    heads = [module for module in model.modules() if getattr(module, "out_features", None) == model.config.num_labels]
    with torch.no_grad():
        heads[-1].weight.mul_(factor)
    return model


def tiny_teacher(family: str = "bert", **options: Any) -> PreTrainedModel:
    """A tiny model with opinions."""
    return sharp(tiny_model(family, **options))


def tiny_student(family: str = "bert", **options: Any) -> PreTrainedModel:
    """Smaller and narrower than the teacher, and without dropout, so that runs can be compared."""
    options = {"seed": 1, "num_hidden_layers": 2, "hidden_size": 8, **options}
    no_dropout = {"dropout": 0.0, "attention_dropout": 0.0} if family == "distilbert" else NO_DROPOUT
    return sharp(tiny_model(family, **no_dropout, **options))


def tiny_arguments(folder: Path, **options: Any) -> DistillationTrainingArguments:
    """Arguments for a short, quiet run on the CPU, in the float32 that every machine has."""
    defaults = {
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "teacher_dtype": "float32",
        "teacher_cache": "off",  # exact to the last bit; what it changes has tests of its own
    }
    return DistillationTrainingArguments(output_dir=str(folder), **{**defaults, **options})


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., DistillationTrainer]:
    """Build a trainer; what is not given is tiny. The trainer's own arguments go to it, every other to `args`."""
    own = {
        "callbacks",
        "compute_metrics",
        "data_collator",
        "eval_dataset",
        "model_init",
        "preprocess_logits_for_metrics",
    }

    def make(
        student: Any = None, teacher: Any = None, train_dataset: Any = None, **options: Any
    ) -> DistillationTrainer:
        of_trainer = {name: options.pop(name) for name in own & set(options)}
        if student is None and "model_init" not in of_trainer:
            student = tiny_student()
        return DistillationTrainer(
            student,
            tiny_teacher() if teacher is None else teacher,
            tiny_arguments(options.pop("output_dir", tmp_path), **options),
            train_dataset=tiny_data() if train_dataset is None else train_dataset,
            processing_class=tiny_tokenizer(),
            **of_trainer,
        )

    return make


@pytest.fixture(scope="module")
def collator() -> DataCollatorWithPadding:
    """Pads the examples of an evaluation."""
    return DataCollatorWithPadding(tiny_tokenizer())


@pytest.fixture(scope="module")
def examples() -> list[dict[str, Any]]:
    """Tokenised, unpadded rows of an evaluation, their text kept."""
    return as_examples(tiny_rows(24))


def as_examples(rows: Dataset) -> list[dict[str, Any]]:
    """Tokenise rows into the list that an evaluation reads."""
    tokenizer = tiny_tokenizer()
    return [{**tokenizer(row["text"]), "label": row["label"], "text": row["text"]} for row in rows]
