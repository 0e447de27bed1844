"""A saved student gets its ONNX graphs: measured beside itself before they lie in its folder."""

import logging
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from distilnlp.data import DataConfig, evaluation_split, spread
from distilnlp.errors import DistillationError
from distilnlp.export import Int8, SessionModel, export_graph, quantize
from distilnlp.export.precision import LEAST
from distilnlp.files import PARTIAL
from distilnlp.models.loading import load_pretrained
from distilnlp.runs.lengths import readable_length
from distilnlp.runs.models import find_task, label_list, load_finished, student_folder
from distilnlp.runs.reading import Reader
from distilnlp.serving import FP32, INT8
from distilnlp.tasks import Task

logger = logging.getLogger(__name__)

ROWS = 500  # that int8 is tried on


@dataclass(frozen=True)
class Export:
    """What an export made.

    Attributes:
        folder: of the student.
        fp32: the graph, whose logits are the student's.
        int8: the graph in int8; None = it was not asked for, or not accepted.
        tried: what became of int8; None = it was not asked for.
        rows: that it was tried on.
    """

    folder: Path
    fp32: Path
    int8: Path | None = None
    tried: Int8 | None = None
    rows: int = 0


def export_saved(
    student: str,
    data: DataConfig | None = None,
    task: str | None = None,
    trusted: Collection[str] = (),
    least: float = LEAST,
) -> Export:
    """Write `onnx/model.onnx` into a student's folder, and with texts `onnx/model_quantized.onnx`.

    Both are made aside, and the folder has what it had before until all is done.

    Args:
        student: local folder.
        data: texts that int8 must agree on, with labels or without; None = no int8.
        task: of the student; None = what its head is for.
        trusted: names of the models whose own Python code may run.
        least: share of the answers to these texts that must be those of fp32.

    Raises:
        DistillationError: there is no student, its folder cannot be written, it cannot be exported, or a package is
            missing.
    """
    folder = student_folder(student)
    kind = find_task(task, student, trusted)
    model = load_finished(student, kind, trusted).float()
    tokenizer = load_pretrained(AutoTokenizer, student, trusted)
    if not tokenizer.is_fast:
        raise DistillationError(
            f"{student} has a {type(tokenizer).__name__}, which other runtimes cannot read: they need tokenizer.json. "
            "Load it as a fast tokenizer and save it into the folder."
        )
    part = folder / f"onnx{PARTIAL}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        fp32 = part / Path(FP32).name
        export_graph(model, tokenizer, kind, fp32)
        tried, rows = (None, 0) if data is None else _quantized(model, tokenizer, kind, data, fp32, least)
        if not (folder / "tokenizer.json").is_file():
            tokenizer.save_pretrained(folder)
        shutil.rmtree(folder / "onnx", ignore_errors=True)
        part.rename(folder / "onnx")
    except OSError as error:
        raise DistillationError(
            f"cannot write the graphs into {folder}: {error}. Give a folder that can be written, on a disk with room."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    is_there = tried is not None and tried.is_accepted
    return Export(folder, folder / FP32, folder / INT8 if is_there else None, tried, rows)


def _quantized(model: Any, tokenizer: Any, task: Task, data: DataConfig, fp32: Path, least: float) -> tuple[Int8, int]:
    """Return what became of int8 on some rows, and how many they were."""
    rows = spread(evaluation_split(data, task.rows, label_list(model, task), may_be_unlabelled=True), ROWS)
    reader = Reader(task, data, tokenizer, readable_length(data.max_length, tokenizer, model))
    examples = list(reader.encode(rows, "Tokenising", for_evaluation=True))
    measure = next(iter(task.evaluation.fidelity.values()))

    def answers(path: Path) -> Any:
        graph: Any = SessionModel(path, model.config)
        with torch.no_grad():
            return task.evaluation.predict(graph, examples, reader.collate, 32, path.stem)

    whole = answers(fp32)
    return quantize(fp32, fp32.with_name(Path(INT8).name), lambda path: measure(answers(path), whole), least), len(rows)
