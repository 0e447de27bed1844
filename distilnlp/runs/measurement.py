"""Measure models on labelled rows, each as it reads them; `distilnlp evaluate` does it for a saved student."""

import logging
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from distilnlp.data import DataConfig, evaluation_split, numbers_of
from distilnlp.evaluation import (
    CUT_TEACHER,
    ModelReport,
    Predictions,
    SpeedPlan,
    evaluate_models,
    predict_models,
    verdict,
)
from distilnlp.metrics import MetricConfig, load_metrics
from distilnlp.models.loading import load_pretrained
from distilnlp.runs.lengths import misfits, readable_length
from distilnlp.runs.models import find_task, label_list, load_finished
from distilnlp.runs.plan import Plan
from distilnlp.runs.reading import Reader, Reading, same_vocabulary
from distilnlp.runs.rows import EncodedRows, RunRows
from distilnlp.signals import student_view, teacher_view
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
        cut = _cut_as_students(readers["teacher"], readers["student"].tokenizer, rows, whole, own)
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


def settle_finished(plan: Plan, models: Mapping[str, Any], rows: RunRows) -> None:
    """Let a finished teacher settle on the validation rows what a trained model does when its training ends.

    Nothing where it reads other pieces than its student, whose windows then have no texts to be scored by.
    """
    is_finished = "teacher" in models and not plan.recipe.teacher.finetune and not plan.has_two_views
    if is_finished and (validation := rows.teacher.validation) is not None:
        plan.task.evaluation.settle(models["teacher"], list(validation), rows.teacher.collate)


def measure_run(
    plan: Plan, readings: Mapping[str, Reading], models: Mapping[str, Any], predictions: Predictions
) -> dict[str, Any]:
    """Measure the models of a run on its test rows, and return the content of its `results.json`.

    Args:
        plan: of the run.
        readings: of the test rows; see `readings_of_run`.
        models: `student`, and perhaps `teacher` and `baseline`, on the devices that they are measured on.
        predictions: what they answer.
    """
    state, data, options = PartialState(), plan.data, plan.recipe.evaluation
    reports = measure(
        models,
        readings,
        plan.task,
        predictions=predictions,
        resamples=options.bootstrap_resamples,
        speed_plan=SpeedPlan() if options.speed else None,
        metrics=plan.metrics,
    )
    return {
        "task": plan.task.name,
        "label_names": list(data.label_names),
        "models": reports,
        "verdict": verdict(reports),
        "rows": {
            "train": len(data.train),
            "labelled": len(data.labelled),
            "validation": 0 if data.validation is None else len(data.validation),
            "test": len(data.test),
        },
        "environment": _environment(),
        "processes": state.num_processes,
    }


def _environment() -> dict[str, str]:
    """Return the versions and the hardware that a result was measured with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    if not torch.cuda.is_available():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        device += f", {cores} cores, {torch.get_num_threads()} threads"
    versions = {package: version(package) for package in PACKAGES}
    return {**versions, "python": platform.python_version(), "device": device}


def readings_of_run(plan: Plan, student: EncodedRows, teacher: EncodedRows | None) -> dict[str, Reading]:
    """Return how the models of a run read its test rows.

    Args:
        plan: of the run.
        student: what the student reads, and the baseline.
        teacher: what the teacher reads; None where it is not measured.
    """
    assert student.test is not None
    own = plan.reader.read(student_view(plan.data.test), student.test)
    readings = {"student": own} | ({"baseline": own} if plan.recipe.baseline else {})
    if teacher is None or teacher.test is None:
        return readings
    rows, reader = teacher_view(plan.data.test), replace(plan.reader_of(plan.members[0]), max_length=_own_length(plan))
    if reader.max_length == teacher.max_length:
        whole = reader.read(rows, teacher.test)._replace(collate=teacher.collate)
    else:
        whole = reader.read(rows)
        whole = whole._replace(rows=plan.task.rows.with_common_labels(whole.rows, own.rows)[0])
    cut = _cut_as_students(reader, plan.tokenizer, rows, whole, own) if _reads_as_student(plan) else {}
    return {"teacher": whole, **cut, **readings}


def _own_length(plan: Plan) -> int:
    """Return how many tokens of a text the teacher reads when it need not read what the student does."""
    first, recipe = plan.members[0], plan.recipe
    is_settled = recipe.teacher.max_length is not None or bool(recipe.teacher.finetune)
    is_of_other_words = plan.task.rows.are_words and first.tokenizer is not plan.tokenizer
    if is_settled or is_of_other_words or not _reads_as_student(plan):
        return first.max_length
    # A member may share the student's tokenizer, which tells how much the student reads: its own one is asked.
    own = zip(plan.tokenizers, plan.members, strict=True)
    return min(readable_length(recipe.data.max_length, tokenizer, member.model) for tokenizer, member in own)


def _reads_as_student(plan: Plan) -> bool:
    """Whether the teacher can be given the student's texts at another length, and be scored on the same items."""
    reads_other_text = plan.recipe.teacher.text_columns is not None
    is_of_several = any(member.prefix for member in plan.members)  # each with an encoding of its own
    return not (reads_other_text or is_of_several or plan.task.draws_its_items)


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


def _cut_as_students(
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
