"""A saved student gets its graphs: measured beside itself before they lie in its folder."""

import logging
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.data import DataConfig, evaluation_split, spread
from distilnlp.errors import DistillationError
from distilnlp.evaluation import measure_size
from distilnlp.export import (
    EXECUTORCH,
    ONNX,
    OPENVINO,
    USUAL,
    ExportConfig,
    GraphModel,
    Int8,
    Runtime,
    export_graph,
    inputs_of,
    quantize,
)
from distilnlp.export.with_tokenizer import FILE as TEXT_FILE
from distilnlp.export.with_tokenizer import TextGraph, add_tokenizer, share_alike
from distilnlp.export.with_tokenizer import check_package as check_tokenizer_package
from distilnlp.files import PARTIAL, read_record, remove, write_record
from distilnlp.metrics.prediction import collate_for
from distilnlp.models.loading import load_pretrained
from distilnlp.runs.lengths import readable_length
from distilnlp.runs.models import find_task, label_list, load_finished, student_folder
from distilnlp.runs.plan import Plan
from distilnlp.runs.reading import Reader
from distilnlp.serving import INT8
from distilnlp.signals import student_view
from distilnlp.tasks import Task

logger = logging.getLogger(__name__)

ROWS = 500  # that int8 is tried on
CALIBRATION = 128  # of these, where it is static
BATCH = 32
RECORD = "export.json"  # beside the graphs: what became of the export
RUNTIMES = {"onnx": ONNX, "onnx-int8": ONNX, "openvino": OPENVINO, "executorch": EXECUTORCH}


@dataclass(frozen=True)
class Export:
    """What became of an export to one runtime.

    Attributes:
        runtime: title of it.
        graphs: bytes of each graph, by its path in the student's folder; the first is fp32 with the student's logits.
        int8: what became of int8; None = it was not asked for.
        rows: that int8 was tried on.
        with_tokenizer: share of them for which the graph with the tokenizer inside gives the same; None = it was not
            asked for, or there is none.
        refused: why there is no graph at all; None = there is.
    """

    runtime: str
    graphs: dict[str, int]
    int8: Int8 | None = None
    rows: int = 0
    with_tokenizer: float | None = None
    refused: str | None = None

    @classmethod
    def read(cls, folder: Path) -> "Export | None":
        """Return what an export left in a runtime's folder, None where there is none."""
        content = read_record(folder / RECORD)
        if content is None:
            return None
        int8 = content.pop("int8")
        return cls(**content, int8=int8 and Int8(**int8 | {"kept": tuple(int8["kept"])}))


def runtimes_of(config: ExportConfig) -> list[Runtime]:
    """Return the runtimes that a student is exported to; without a choice, ONNX if its packages are there."""
    if config.formats is not None:
        return list(dict.fromkeys(RUNTIMES[name] for name in config.formats))
    try:
        ONNX.check_packages()
    except DistillationError:
        return []
    return [ONNX]


def export_saved(
    student: str,
    config: ExportConfig | None = None,
    data: DataConfig | None = None,
    task: str | None = None,
    trusted: Collection[str] = (),
) -> list[Export]:
    """Write a student's graphs into its folder: `onnx/model.onnx`, with texts `onnx/model_quantized.onnx`, and others.

    All are made aside, and the folder has what it had before until they are done.

    Args:
        student: local folder.
        config: which graphs.
        data: texts that int8 must agree on, with labels or without; None = no int8.
        task: of the student; None = what its head is for.
        trusted: names of the models whose own Python code may run.

    Raises:
        DistillationError: there is no student, its folder cannot be written, it cannot be exported, or a package is
            missing.
    """
    config = config or ExportConfig()
    if config.distil_int8:
        raise DistillationError(
            "export.distil_int8 trains, which takes a teacher and rows: set it in the recipe of the run, and run that."
        )
    if config.formats is None:
        config = config.model_copy(update={"formats": list(USUAL)})
    folder = student_folder(student)
    kind = find_task(task, student, trusted)
    model = load_finished(student, kind, trusted)
    tokenizer = load_pretrained(AutoTokenizer, student, trusted)
    rows, reader = None, None
    if data is not None:
        rows = evaluation_split(data, kind.rows, label_list(model, kind), may_be_unlabelled=True)
        reader = Reader(kind, data, tokenizer, readable_length(data.max_length, tokenizer, model))
    check_packages(config)
    made = []
    for runtime in runtimes_of(config):
        own = folder / Path(runtime.file).parent
        part = own.with_name(own.name + PARTIAL)
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            made.append(export(model, tokenizer, kind, runtime, config, part, rows, reader))
            if not (folder / "tokenizer.json").is_file():
                tokenizer.save_pretrained(folder)
            shutil.rmtree(own, ignore_errors=True)
            part.rename(own)
        except OSError as error:
            raise DistillationError(
                f"cannot write the graphs into {folder}: {error}. Give a folder that can be written, on a disk with "
                "room."
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return made


def export(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    runtime: Runtime,
    config: ExportConfig,
    folder: Path,
    rows: Dataset | None,
    reader: Reader | None,
) -> Export:
    """Write a model's graphs for a runtime into a folder, and beside them what became of it.

    Args:
        model, tokenizer, task: what is exported.
        runtime: that reads the graphs.
        config: says whether int8 is wanted, and how.
        folder: of the graphs alone.
        rows: normalised, that int8 is tried on; None = no int8.
        reader: of these rows, for the model.

    Raises:
        DistillationError: see `export_graph`.
    """
    if not tokenizer.is_fast:
        raise DistillationError(
            f"the student has a {type(tokenizer).__name__}, which other runtimes cannot read: they need "
            "tokenizer.json. Load it as a fast tokenizer and save it into the folder."
        )
    within = Path(runtime.file).parent.name
    fp32 = export_graph(model.cpu().float(), tokenizer, task, folder / Path(runtime.file).name, runtime)
    graphs, int8, alike, count = [fp32], None, None, 0
    if runtime is ONNX and rows is not None and reader is not None:
        chosen = spread(rows, ROWS)
        count = len(chosen)
        if config.has_int8:
            int8 = _quantize(fp32, folder / Path(INT8).name, chosen, reader, config)
            if int8.is_accepted:
                graphs.append(load_graph(folder / Path(INT8).name, model, tokenizer))
        if config.tokenizer:
            alike = _add_tokenizer(graphs[-1], folder / TEXT_FILE, chosen, reader, config)
    made = Export(runtime.title, {f"{within}/{own.path.name}": own.bytes for own in graphs}, int8, count, alike)
    write_record(folder / RECORD, asdict(made))
    return made


def tried_on(plan: Plan) -> Dataset:
    """Return the rows of a run that int8 is tried on: never those of the test, whose figures tell how good it is."""
    return plan.data.train if plan.data.validation is None else plan.data.validation


def export_of_run(plan: Plan, student: PreTrainedModel, runtime: Runtime, folder: Path) -> None:
    """Write the graphs of a run's student; where there can be none, why: the rest of the run is worth as much without.

    Args:
        plan: of the run.
        student: as it was trained.
        runtime: that reads the graphs.
        folder: to be made, of the graphs alone.
    """
    folder.mkdir()
    rows = student_view(tried_on(plan))
    try:
        export(student, plan.tokenizer, plan.task, runtime, plan.recipe.export, folder, rows, plan.reader)
    except DistillationError as error:
        logger.warning("not exported to %s: %s", runtime.title, error)
        remove(folder)
        folder.mkdir()
        write_record(folder / RECORD, asdict(Export(runtime.title, {}, refused=str(error))))


def load_graph(file: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GraphModel:
    """Return an ONNX graph of a model, called like it and with its size."""
    graph = ONNX.load(file, model.config, inputs_of(model, tokenizer))
    graph.size = replace(measure_size(model), bytes=graph.bytes)
    return graph


def _add_tokenizer(graph: GraphModel, target: Path, rows: Dataset, reader: Reader, config: ExportConfig) -> float:
    """Write a graph that reads text, kept if it gives the same for enough rows, and return for which share it does."""
    task_rows = reader.task.rows
    if not task_rows.are_texts:
        raise DistillationError(
            f"a tokenizer inside of a graph reads a text or a pair, but the rows of {reader.task.name} are more than "
            "that. Leave export.tokenizer out."
        )
    add_tokenizer(graph.path, reader.tokenizer, reader.max_length, target)
    columns = [rows[name][:] for name in task_rows.inputs if name in rows.column_names]
    texts = [[text for text in row if text is not None] for row in zip(*columns, strict=True)]
    alike = share_alike(TextGraph(target), graph, reader.tokenizer, reader.max_length, texts)
    if alike < config.min_agreement:
        target.unlink()
        logger.warning(
            "no graph with the tokenizer inside: it gives the same for %.1f%% of %d texts, %.1f%% are asked",
            100 * alike,
            len(texts),
            100 * config.min_agreement,
        )
    return alike


def check_packages(config: ExportConfig) -> None:
    """Refuse what is asked for by name and needs a package that is missing."""
    for runtime in runtimes_of(config):
        runtime.check_packages()
    if config.tokenizer:
        check_tokenizer_package()


def _quantize(fp32: Any, target: Path, rows: Dataset, reader: Reader, config: ExportConfig) -> Int8:
    """Return what became of int8 on these rows."""
    examples: Sequence[Any] = list(reader.encode(rows, "Tokenising", for_evaluation=True))
    scoring = reader.task.evaluation
    measure = next(iter(scoring.fidelity.values()))

    def answers(graph: Any) -> Any:
        with torch.no_grad():
            return scoring.predict(graph, examples, reader.collate, BATCH, graph.path.stem)

    whole = answers(fp32)

    def agree(path: Path) -> float:
        return measure(answers(ONNX.load(path, fp32.config, fp32.inputs)), whole)

    calibration = None
    if config.quantization == "static":
        starts = range(0, len(examples[:CALIBRATION]), BATCH)
        batches = [collate_for(fp32, examples[at : at + BATCH], reader.collate) for at in starts]
        calibration = [{name: batch[name].numpy() for name in fp32.inputs} for batch in batches]
    return quantize(fp32.path, target, agree, config.min_agreement, calibration)
