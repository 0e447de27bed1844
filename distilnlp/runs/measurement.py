"""Measure models on labelled rows, each as it reads them; `distilnlp evaluate` does it for a saved student."""

import logging
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from distilnlp.data import DataConfig, evaluation_split, numbers_of
from distilnlp.evaluation import (
    CUT_TEACHER,
    ModelReport,
    Predictions,
    evaluate_models,
    predict_models,
)
from distilnlp.metrics import MetricConfig, load_metrics
from distilnlp.models.loading import load_pretrained
from distilnlp.runs.lengths import misfits, readable_length
from distilnlp.runs.models import find_task, label_list, load_finished
from distilnlp.runs.reading import Reader, Reading, same_vocabulary
from distilnlp.tasks import Task

logger = logging.getLogger(__name__)

PACKAGES = ("distilnlp", "torch", "transformers", "datasets", "accelerate")  # whose versions a result names


def evaluate_saved(
    student: str,
    data: DataConfig,
    teacher: str | None = None,
    task: str | None = None,
    trusted: Collection[str] = (),
    metrics: Sequence[MetricConfig] = (),
) -> dict[str, ModelReport]:
    """Measure a student, and its teacher if given, on labelled rows, each with its own tokenizer and length.

    Where the student reads less of the texts, the teacher is also measured on texts that are cut as the student's are.

    Args:
        student: local folder or Hub id.
        data: where the rows are; of `test_split`, else of test, validation or train.
        teacher: local folder or Hub id; it comes first in the report and fidelity is measured against it.
        task: of both; None = what the student's head is for.
        trusted: names of the models and metrics whose own Python code may run.
        metrics: further ones to measure.

    Raises:
        DistillationError: a model or the data cannot be loaded, or they do not fit together.
    """
    names = {"teacher": teacher, "student": student} if teacher else {"student": student}
    kind = find_task(task, student, trusted)
    models = {role: load_finished(name, kind, trusted) for role, name in names.items()}
    further = load_metrics(metrics, kind.evaluation, models["student"].config, trusted)
    tokenizers = {role: load_pretrained(AutoTokenizer, name, trusted) for role, name in names.items()}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for model in models.values():
        model.to(device)  # type: ignore[arg-type]  # transformers wraps `to` in a way that hides its signature
    lengths = {role: readable_length(data.max_length, tokenizers[role], model) for role, model in models.items()}
    if kind.draws_its_items:  # what is masked depends on the length
        lengths = dict.fromkeys(lengths, min(lengths.values()))
    rows = evaluation_split(data, kind.rows, label_list(next(iter(models.values())), kind), "teacher" in models)
    readers = {role: Reader(kind, data, tokenizers[role], length) for role, length in lengths.items()}
    for reader in readers.values():
        for said in misfits(reader.tokenizer, reader.max_length, kind.rows.texts(rows)):
            logger.warning("%s", said)
    readings = {role: reader.read(rows) for role, reader in readers.items()}
    if teacher:
        whole, own = readings.values()
        common = kind.rows.with_common_labels(own.rows, whole.rows)
        own, whole = (one._replace(rows=shared) for one, shared in zip((own, whole), common, strict=True))
        cut = cut_as_students(readers["teacher"], readers["student"].tokenizer, rows, whole, own)
        readings = {"teacher": whole, **cut, "student": own}
    return measure(models, readings, kind, metrics=further)


def predict(models: Mapping[str, Any], readings: Mapping[str, Reading], task: Task) -> Predictions:
    """Return what models answer, each on its own reading of the same rows; see `measure`."""
    rows = {id(own.rows): list(own.rows) for own in readings.values()}  # read once where they are the same
    return predict_models(
        _by_reading(models, readings),
        {name: rows[id(own.rows)] for name, own in readings.items()},
        {name: own.collate for name, own in readings.items()},
        task=task.evaluation,
        stand_in="teacher" if "teacher" in readings else None,
    )


def environment() -> dict[str, str]:
    """Return the versions and the hardware that a result was measured with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    if not torch.cuda.is_available():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        device += f", {cores} cores, {torch.get_num_threads()} threads"
    versions = {package: version(package) for package in PACKAGES}
    return {**versions, "python": platform.python_version(), "device": device}


def measure(
    models: Mapping[str, Any],
    readings: Mapping[str, Reading],
    task: Task,
    predictions: Predictions | None = None,
    **options: Any,
) -> dict[str, ModelReport]:
    """Measure models, each on its own reading of the same rows; fidelity is to the teacher if there is one.

    Args:
        models: by role.
        readings: of those that are measured, in the order of the report.
        task: of all.
        predictions: what `predict` gave of these; None predicts now.
        options: of `evaluate_models`.
    """
    return evaluate_models(
        _by_reading(models, readings),
        {name: own.rows for name, own in readings.items()},  # of which the speed needs a few
        {name: own.collate for name, own in readings.items()},
        task=task.evaluation,
        reference="teacher" if "teacher" in readings else None,
        text={name: own.text for name, own in readings.items()},
        predictions=predict(models, readings, task) if predictions is None else predictions,
        **options,
    )


def _by_reading(models: Mapping[str, Any], readings: Mapping[str, Reading]) -> dict[str, Any]:
    """Return the model of each reading."""
    return {name: models["teacher" if name == CUT_TEACHER else name] for name in readings}


def cut_as_students(
    reader: Reader, students: PreTrainedTokenizerBase, rows: Dataset, whole: Reading, own: Reading
) -> dict[str, Reading]:
    """Return the teacher's reading of texts that are cut at the student's length, where that is another than its own.

    Args:
        reader: the teacher's, at its own length.
        students: the student's tokenizer.
        rows: normalised, as the teacher reads them.
        whole: its reading at that length.
        own: the student's reading.
    """
    length, task_rows = own.text["max_length"], reader.task.rows
    if length >= reader.max_length or (task_rows.are_words and not same_vocabulary(reader.tokenizer, students)):
        return {}  # other tokenizers have room for other words, and the figures would be of other words
    cut = replace(reader, max_length=length).read(rows)
    if numbers_of(cut.rows, "length").tolist() == numbers_of(whole.rows, "length").tolist():
        return {}
    return {CUT_TEACHER: cut._replace(rows=task_rows.with_common_labels(cut.rows, own.rows)[0])}
