"""Measure models on labelled rows, each as it reads them; `distilnlp evaluate` does it for a saved student."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from distilnlp.data import DataConfig, evaluation_split, numbers_of
from distilnlp.evaluation import CUT_TEACHER, ModelReport, SpeedPlan, TextLength, evaluate_models, verdict
from distilnlp.metrics import MetricConfig, load_metrics
from distilnlp.models.loading import load_pretrained
from distilnlp.runs.environment import describe_environment
from distilnlp.runs.lengths import readable_length, warn_of_misfit
from distilnlp.runs.models import collator_of, find_task, label_list, load_finished, same_vocabulary
from distilnlp.runs.plan import Plan
from distilnlp.runs.rows import EncodedRows, RunRows
from distilnlp.signals import student_view, teacher_view
from distilnlp.tasks import Task

UNCUT = 10**9  # tokens: more than any text has


class Reading(NamedTuple):
    """The rows of an evaluation as one model reads them.

    Attributes:
        rows: tokenised.
        collate: makes batches.
        text: how much is read of them.
    """

    rows: Dataset
    collate: Any
    text: TextLength


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
    rows = evaluation_split(data, kind.rows, label_list(next(iter(models.values())), kind))
    for role, tokenizer in tokenizers.items():
        warn_of_misfit(tokenizer, lengths[role], kind.rows.texts(rows))
    own = reading(kind, rows, tokenizers["student"], lengths["student"], data)
    readings = {"student": own}
    if teacher:
        whole = reading(kind, rows, tokenizers["teacher"], lengths["teacher"], data)
        if kind.rows.are_words:  # of words, those that both have room for
            common = kind.rows.with_common_labels(own.rows, whole.rows)
            own, whole = (one._replace(rows=shared) for one, shared in zip((own, whole), common, strict=True))
        cut = cut_as_students(kind, rows, tokenizers["teacher"], whole, own, tokenizers["student"], data)
        readings = {"teacher": whole, **cut, "student": own}
    return measure({**models, CUT_TEACHER: models.get("teacher")}, readings, kind, metrics=further)


def measure_run(plan: Plan, rows: RunRows, models: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the models of a run on its test rows, and return the content of its `results.json`.

    Args:
        plan: of the run.
        rows: what the models read.
        models: `student`, and perhaps `teacher` and `baseline`.
    """
    state, data, options = PartialState(), plan.data, plan.recipe.evaluation
    for model in models.values():
        model.to(state.device)
    reports = measure(
        {**models, CUT_TEACHER: models.get("teacher")},
        readings_of_run(plan, rows.student, rows.teacher if "teacher" in models else None),
        plan.task,
        resamples=options.bootstrap_resamples,
        speed_plan=SpeedPlan() if options.speed else None,
        metrics=plan.metrics,
    )
    return {
        "models": reports,
        "verdict": verdict(reports),
        "rows": {"train": len(data.train), "labelled": len(data.labelled), "test": len(data.test)},
        "environment": describe_environment(),
        "processes": state.num_processes,
    }


def readings_of_run(plan: Plan, student: EncodedRows, teacher: EncodedRows | None) -> dict[str, Reading]:
    """Return how the models of a run read its test rows.

    Args:
        plan: of the run.
        student: what the student reads, and the baseline.
        teacher: what the teacher reads; None where it is not measured.
    """
    data, config = plan.data.test, plan.recipe.data
    cut = text_length(plan.task, student_view(data), plan.tokenizer, plan.max_length, config)
    assert student.test is not None
    own = Reading(student.test, student.collate, cut)
    readings = {"student": own} | ({"baseline": own} if plan.recipe.baseline else {})
    if teacher is None or teacher.test is None:
        return readings
    tokenizer, rows = teacher.tokenizer, teacher_view(data)
    length = _own_length(plan)
    if length == teacher.max_length:
        whole = Reading(teacher.test, teacher.collate, text_length(plan.task, rows, tokenizer, length, config))
    else:
        whole = reading(plan.task, rows, tokenizer, length, config)
        if plan.task.rows.are_words:
            whole = whole._replace(rows=plan.task.rows.with_common_labels(whole.rows, own.rows)[0])
    if _reads_as_student(plan):
        return {
            "teacher": whole,
            **cut_as_students(plan.task, rows, tokenizer, whole, own, plan.tokenizer, config),
            **readings,
        }
    return {"teacher": whole, **readings}


def _own_length(plan: Plan) -> int:
    """Return how many tokens of a text the teacher reads when it need not read what the student does."""
    first, recipe = plan.members[0], plan.recipe
    is_settled = recipe.teacher.max_length is not None or bool(recipe.teacher.finetune)
    is_of_other_words = plan.task.rows.are_words and first.tokenizer is not plan.tokenizer
    if is_settled or is_of_other_words or not _reads_as_student(plan):
        return first.max_length
    # A member may share the student's tokenizer, which tells how much the student reads.
    tokenizers = [load_pretrained(AutoTokenizer, own.source, recipe.trust_remote_code) for own in plan.members]
    return min(
        readable_length(recipe.data.max_length, tokenizer, own.model)
        for tokenizer, own in zip(tokenizers, plan.members, strict=True)
    )


def _reads_as_student(plan: Plan) -> bool:
    """Whether the teacher can be given the student's texts at another length, and be scored on the same items."""
    reads_other_text = plan.recipe.teacher.text_columns is not None
    is_of_several = any(member.prefix for member in plan.members)  # each with an encoding of its own
    return not (reads_other_text or is_of_several or plan.task.draws_its_items)


def measure(models: Mapping[str, Any], readings: Mapping[str, Reading], task: Task, **options: Any) -> Any:
    """Measure models, each on its own reading of the same rows; fidelity is to the teacher if there is one.

    Args:
        models: by name.
        readings: of those that are measured, in the order of the report.
        task: of all.
        options: of `evaluate_models`.
    """
    rows = {id(own.rows): list(own.rows) for own in readings.values()}
    return evaluate_models(
        {name: models[name] for name in readings},
        {name: rows[id(own.rows)] for name, own in readings.items()},
        {name: own.collate for name, own in readings.items()},
        task=task.evaluation,
        reference="teacher" if "teacher" in readings else None,
        text={name: own.text for name, own in readings.items()},
        **options,
    )


def reading(
    task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, config: DataConfig
) -> Reading:
    """Tokenise normalised rows for an evaluation, cut after `max_length` tokens."""
    encoded = task.rows.encode(rows, tokenizer, max_length, "Tokenising", config=config, for_evaluation=True)
    return Reading(
        encoded, collator_of(task, tokenizer, config), text_length(task, rows, tokenizer, max_length, config)
    )


def text_length(
    task: Task, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, config: DataConfig
) -> TextLength:
    """Return how many tokens of a text a model reads, and the share of the normalised rows that are longer."""
    if task.rows.are_windows:  # read to the end, in windows
        return TextLength(max_length=max_length, cut=None)
    whole = task.rows.encode(rows, tokenizer, UNCUT, "Counting tokens", config=config)
    return TextLength(max_length=max_length, cut=float((numbers_of(whole, "length") > max_length).mean()))


def cut_as_students(
    task: Task,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    whole: Reading,
    student: Reading,
    student_tokenizer: PreTrainedTokenizerBase,
    config: DataConfig,
) -> dict[str, Reading]:
    """Return the teacher's reading of texts that are cut at the student's length, where that is another than its own.

    Args:
        task: of both.
        rows: normalised, as the teacher reads them.
        tokenizer: the teacher's.
        whole: the teacher's reading at its own length.
        student: the student's reading.
        student_tokenizer: the student's.
        config: the `data` section.
    """
    length = student.text["max_length"]
    is_of_words = task.rows.are_words
    if length >= whole.text["max_length"] or (is_of_words and not same_vocabulary(tokenizer, student_tokenizer)):
        return {}  # other tokenizers have room for other words, and the figures would be of other words
    cut = reading(task, rows, tokenizer, length, config)
    lengths = [numbers_of(own.rows, "length").tolist() for own in (cut, whole)]
    if lengths[0] == lengths[1]:
        return {}
    return {CUT_TEACHER: cut._replace(rows=task.rows.with_common_labels(cut.rows, student.rows)[0])}
