"""A student labels rows: any number of them, a part at a time, so that a killed command goes on where it stopped."""

import json
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedModel

from distilnlp.data import DataConfig, Layout, Part, load_source
from distilnlp.data.splits import as_meant
from distilnlp.errors import DistillationError, shown
from distilnlp.export.graph import LOGITS
from distilnlp.files import PARTIAL, content_checksum, read_record, write_record
from distilnlp.models.identity import model_fingerprint
from distilnlp.models.loading import load_pretrained
from distilnlp.models.running import in_eval_mode
from distilnlp.runs.lengths import readable_length
from distilnlp.runs.models import find_task, load_finished, student_folder
from distilnlp.screen import progress
from distilnlp.serving import FP32, INT8, OnnxPredictor
from distilnlp.signals import named_inputs
from distilnlp.tasks import Task

ROWS = 2_000  # of a part
RECORD = "answers.json"  # what the parts are answers to
MODEL_INPUTS_OF_TEXT = ("input_ids", "token_type_ids", "attention_mask")
Answers = dict[str, list[Any]]


class TorchPredictor(OnnxPredictor):
    """The same answers by torch, for a student that is not exported.

    Args:
        folder: of the student, with `tokenizer.json`.
        model: the student.
        options: of `OnnxPredictor`.
    """

    def __init__(self, folder: Path, model: PreTrainedModel, **options: Any) -> None:
        self.model = model
        super().__init__(folder, **options)

    def open_session(self, precision: str | None, threads: int | None) -> Any:
        """Return this object: it runs like a session."""
        return self

    @property
    def input_names(self) -> list[str]:
        """What the tokenizer gives, of what the model reads."""
        said = self._read("tokenizer_config.json").get("model_input_names")
        return [name for name in said or MODEL_INPUTS_OF_TEXT if name in named_inputs(self.model)]

    def run_session(self, feed: dict[str, Any]) -> list[Any]:
        """Return the outputs that a graph would give, in its order."""
        with in_eval_mode(self.model), torch.inference_mode():
            tensors = {name: torch.from_numpy(values).to(self.model.device) for name, values in feed.items()}
            outputs = self.model(**tensors)
        names = [name for name in LOGITS if name in outputs]
        return [outputs[name].float().cpu().numpy() for name in names]


def predict_saved(
    student: str,
    data: DataConfig,
    output: Path,
    task: str | None = None,
    trusted: Collection[str] = (),
    runtime: str | None = None,
) -> int:
    """Write the rows of a source with a student's answers beside them, and return how many there are.

    Args:
        student: local folder.
        data: the rows; they need no labels.
        output: `.parquet`, `.jsonl` or `.csv`; beside it lie the parts until all are there.
        task: of the student; None = what its head is for.
        trusted: names of the models whose own Python code may run.
        runtime: `onnx` or `torch`; None = onnx, in int8 if there is one, where the student is exported.

    Raises:
        DistillationError: the student or the rows cannot be read or do not fit, or the file cannot be written.
    """
    if output.suffix not in WRITERS:
        raise DistillationError(f"the output must end in {', '.join(WRITERS)}, but it is {output.name}. Rename it.")
    folder = student_folder(student)
    kind = find_task(task, student, trusted)
    if not kind.rows.needs_labels:
        raise DistillationError(f"a student of {kind.name} has no answer to a row. Fine-tune it for a task first.")
    rows, layout = rows_of(data, kind)
    predictor, identity = _predictor(folder, kind, data, trusted, runtime)
    parts = output.with_name(output.name + PARTIAL)
    answered = {"student": identity, "rows": rows._fingerprint, "count": len(rows), "columns": rows.column_names}
    try:
        if read_record(parts / RECORD) != answered:
            shutil.rmtree(parts, ignore_errors=True)
            parts.mkdir(parents=True)
            write_record(parts / RECORD, answered)
        files = list(_answered_parts(rows, kind, layout, predictor, parts))
        whole = output.with_name(f"{output.name}{PARTIAL}.whole")
        WRITERS[output.suffix](files, whole)
        whole.replace(output)
    except OSError as error:
        raise DistillationError(f"cannot write {output}: {error}. Give a folder that can be written.") from error
    shutil.rmtree(parts)
    return len(rows)


def rows_of(data: DataConfig, task: Task) -> tuple[Dataset, Layout]:
    """Return the rows of the only split, or of the one that is named, and what is where in them.

    Raises:
        DistillationError: there is no such split, or no column with what the task reads.
    """
    splits = load_source(data.source, data.config, form=data.file_form)
    name = data.test_split or (next(iter(splits)) if len(splits) == 1 else None)
    if name not in splits:
        raise DistillationError(f"the data has the splits {shown(list(splits))}. Name one in data.test_split.")
    found = as_meant(splits[name], task.rows, data)
    return found, task.rows.find_layout(found, data, data.label_column or task.rows.usual_labels[0])


def asked(rows: Dataset, start: int, task: Task, layout: Layout) -> tuple[list[Any], list[Any] | None]:
    """Return what a predictor is called with for rows: texts, and what belongs to each, if something does."""
    content = task.rows.read_inputs(Part(rows, start), layout)
    inputs = [content[name] for name in task.rows.inputs if name in content]
    first = [" ".join(own) if isinstance(own, list) else own for own in inputs[0]]
    if len(inputs) == 3:  # what every choice begins with, and the choices
        return first, [
            [f"{begin} {own}" for own in choices] for begin, choices in zip(inputs[1], inputs[2], strict=True)
        ]
    return first, inputs[1] if len(inputs) == 2 else None


def _predictor(
    folder: Path, task: Task, data: DataConfig, trusted: Collection[str], runtime: str | None
) -> tuple[OnnxPredictor, str]:
    """Return what answers, and what tells its answers from others."""
    is_exported = (folder / FP32).is_file()
    if runtime == "onnx" and not is_exported:
        raise DistillationError(f"{folder} has no {FP32}. Run `distilnlp export {folder}`, or leave --runtime out.")
    model = load_finished(str(folder), task, trusted)
    length = readable_length(data.max_length, load_pretrained(AutoTokenizer, str(folder), trusted), model)
    identity = model_fingerprint(str(folder), model)
    if runtime == "torch" or not is_exported:
        model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
        return TorchPredictor(folder, model, max_length=length), f"{identity} torch {length}"
    graph = folder / (INT8 if (folder / INT8).is_file() else FP32)
    found = graph.stat()
    name = content_checksum([identity, graph.name, found.st_size, found.st_mtime_ns, length])
    return OnnxPredictor(folder, max_length=length), name


def _answered_parts(rows: Dataset, task: Task, layout: Layout, predictor: OnnxPredictor, parts: Path) -> Iterator[Path]:
    """Yield the files of the parts, in order; those that are not there are answered first."""
    with progress("Answering", len(rows)) as bar:
        for start in range(0, len(rows), ROWS):
            part = rows.select(range(start, min(start + ROWS, len(rows))))
            path = parts / f"{start:012d}.parquet"
            if not path.is_file():
                columns = _answers(*asked(part, start, task, layout), predictor)
                table = part.with_format("arrow")[:]
                for name, values in columns.items():
                    kept = name if name not in table.column_names else f"predicted_{name}"
                    table = table.append_column(kept, pa.array(values))
                temporary = path.with_suffix(PARTIAL)
                pq.write_table(table.replace_schema_metadata(None), temporary)
                temporary.replace(path)
            bar.move(start + len(part))
            yield path


def _answers(first: list[Any], others: list[Any] | None, predictor: OnnxPredictor) -> Answers:
    """Return the columns of the answers; null where a row is blank."""
    filled = [place for place, text in enumerate(first) if isinstance(text, str) and text.strip()]
    pairs = None if others is None else [others[place] for place in filled]
    options = {"top_k": None} if predictor.is_of_labels else {}
    found = predictor([first[place] for place in filled], pairs, **options)
    columns: Answers = {}
    for place, answer in zip(filled, found, strict=True):
        for name, value in _fields(answer, predictor).items():
            columns.setdefault(name, [None] * len(first))[place] = value
    return columns


def _fields(answer: Any, predictor: OnnxPredictor) -> dict[str, Any]:
    """Return an answer as columns."""
    if predictor.is_of_labels:
        kept = [own["label"] for own in answer if own["score"] > predictor.thresholds[own["label"]]]
        return {"labels": kept, "scores": {own["label"]: own["score"] for own in answer}}
    if isinstance(answer, list):
        return {"entities": answer}
    if len(predictor.labels) == 1 and "label" in answer:
        return {"score": answer["score"]}
    return dict(answer)


# ---- Files ----


def _write_parquet(parts: list[Path], path: Path) -> None:
    # A part may have nothing but null, or empty lists, where others tell the type.
    schema = pa.unify_schemas([pq.read_schema(part) for part in parts], promote_options="permissive")
    with pq.ParquetWriter(path, schema) as writer:
        for part in parts:
            table = pq.read_table(part)
            absent = [name for name in schema.names if name not in table.column_names]
            for name in absent:
                table = table.append_column(name, pa.nulls(len(table)))
            writer.write_table(table.select(schema.names).cast(schema))


def _write_lines(parts: list[Path], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for part in parts:
            rows = pq.read_table(part).to_pylist()
            file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def _write_csv(parts: list[Path], path: Path) -> None:
    import pandas as pd

    for number, part in enumerate(parts):
        pd.read_parquet(part).to_csv(path, mode="a" if number else "w", header=not number, index=False)


WRITERS: dict[str, Callable[[list[Path], Path], None]] = {
    ".parquet": _write_parquet,
    ".jsonl": _write_lines,
    ".csv": _write_csv,
}
