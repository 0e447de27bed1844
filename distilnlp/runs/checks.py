"""What is checked of a run before anything is trained, in the order in which it is told."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedModel, default_data_collator

from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.recipe.defaults import LABELS_ALONE, baseline_values, build_arguments, distill_values, finetune_values
from distilnlp.runs.exporting import check_packages
from distilnlp.runs.findings import Check, Finding
from distilnlp.runs.lengths import misfits
from distilnlp.runs.members import column_teacher
from distilnlp.runs.models import load_finished, new_head
from distilnlp.runs.plan import Plan, evaluates
from distilnlp.runs.pushing import is_offline, may_push, repository
from distilnlp.runs.rows import RunRows
from distilnlp.runs.teacher_worth import doubts_of_teacher
from distilnlp.signals import ANSWER, CHOICES, SOURCE_ROW, TEACHER_TEXT
from distilnlp.training.refusals import check_batch_size, check_own_encoding
from distilnlp.training.trainer import DistillationTrainer

CHECKED_ROWS = 64  # of each split, in a dry run


def arguments(plan: Plan) -> None:
    """The arguments of the trainings, alone."""
    recipe = plan.recipe
    for values in (distill_values(recipe), baseline_values(recipe), finetune_values(recipe)):
        build_arguments(values, recipe.seed, Path(recipe.output))


def task(plan: Plan) -> None:
    """The task, and whether a teacher of this kind can have it."""
    config = plan.recipe.teacher
    if plan.task.draws_its_items and (len(config.models) > 1 or config.folds):
        raise DistillationError(
            f"{plan.task.name} is answered at positions that are drawn, so its teacher is one model in a recipe, but "
            "there are several or teacher.folds. Name one model and remove folds."
        )


def finished_teacher(plan: Plan) -> None:
    """The tokenizers and weights of a teacher that is not trained here."""
    config = plan.recipe.teacher
    _ = plan.tokenizers
    for name in config.models if not config.finetune else ():
        load_finished(name, plan.task, plan.recipe.trust_remote_code)


def data(plan: Plan) -> None:
    """The rows: their columns, splits and labels."""
    _ = plan.data


def new_heads(plan: Plan) -> None:
    """The weights of what is trained here and was trained elsewhere before."""
    recipe, names = plan.recipe, plan.recipe.teacher.models if plan.recipe.teacher.finetune else []
    _ = plan.shapes
    for name in [*names, *filter(None, [recipe.student.model])]:
        new_head(name, plan.task, plan.data.label_names, recipe.seed, recipe.trust_remote_code)


def student(plan: Plan) -> None:
    """The student's shape, and how each model reads the rows."""
    _ = plan.student, plan.members


def given_answers(plan: Plan) -> None:
    """The answers of a teacher that stand in the data, of every row that it answers."""
    recipe = plan.recipe
    if not recipe.teacher.columns:
        return
    teacher = column_teacher(recipe, plan.task, plan.data.label_names)
    columns = ", ".join(map(repr, recipe.teacher.columns))
    for split, answers in plan.data.answers.items():
        if split != "validation" or recipe.training.get("eval_soft_loss"):
            name = f"teacher.column {columns} of the {split} data (rows counted from 0)"
            teacher.check_numbered_rows(answers, SOURCE_ROW, name)


def trainings(plan: Plan) -> None:
    """Each training: the metric that it stops by, the rows that it is evaluated on, what the Trainer can do."""
    for name, values in plan.trainings.items():
        _check_best_metric(values, plan)
        if plan.data.validation is None and name not in plan.stopped and evaluates(values):
            asked = "eval_on_start" if values.get("eval_on_start") else "eval_strategy"
            raise DistillationError(
                f"{asked} asks for evaluation during training, but there is no labelled validation split beside the "
                "test split, which is kept for the end (a validation split alone stands in for it). Add one, name it "
                f"in data.validation_split, or remove {asked}."
            )
        _rehearse(values, plan)


def reading(plan: Plan) -> Iterator[Finding]:
    """Whether the tokenizers know the texts."""
    for reader, length in dict.fromkeys([(plan.tokenizer, plan.max_length), *(own.view for own in plan.members)]):
        for said in misfits(reader, length, plan.task.rows.texts(plan.data.train)):
            yield Finding("warning", "reading", said)


def views(plan: Plan) -> None:
    """Whether the teacher can read another encoding, or another text, than its student."""
    if not plan.has_two_views:
        return
    check_own_encoding(plan.task)
    if plan.recipe.teacher.text_columns is not None and not plan.task.rows.are_texts:
        raise DistillationError(
            f"teacher.text_columns give the teacher a text of its own, but the rows of {plan.task.name} are not plain "
            "texts. Remove teacher.text_columns."
        )


def validation(plan: Plan) -> None:
    """Whether the validation rows have what an evaluation during training reads."""
    teacher, rows = plan.recipe.teacher, plan.data.validation
    is_evaluated = evaluates(teacher.finetune if isinstance(teacher.finetune, dict) else {})
    if rows is None or not (plan.trainings["student"].get("eval_soft_loss") or is_evaluated):
        return
    for column, names in ((TEACHER_TEXT, teacher.text_columns), (ANSWER, teacher.columns)):
        if names and column not in rows.column_names:
            raise DistillationError(
                f"the teacher is to read the validation rows, but these lack some of its columns {list(names)}. Add "
                "them, or set eval_soft_loss to false and leave eval_strategy out of teacher.finetune."
            )


def objective(plan: Plan) -> None:
    """The losses, on what these models give and in batches of this size."""
    check_batch_size(plan.objective, plan.student_args, plan.task.texts_a_row(plan.data.train, CHOICES))


def metrics(plan: Plan) -> None:
    """Further metrics: their code, on right answers."""
    _ = plan.metrics


def exports(plan: Plan) -> None:
    """The packages that graphs need which are asked for by name."""
    check_packages(plan.recipe.export)


def hub(plan: Plan) -> Iterator[Finding]:
    """Whether the student may be pushed where it is to go."""
    config = plan.recipe.push_to_hub
    if not config.enabled or not PartialState().is_main_process:
        return
    if is_offline():  # a dry run is too
        yield Finding("warning", "push_to_hub", "the Hub was not asked whether the student may be pushed there")
        return
    may_push(repository(config, Path(plan.recipe.output)))


def teacher_worth(plan: Plan) -> Iterator[Finding]:
    """What a finished teacher answers to some labelled rows."""
    recipe = plan.recipe
    if recipe.teacher.finetune or not PartialState().is_main_process:
        return
    loaded = []
    for member in plan.members:
        model, named = load_finished(member.source, plan.task, recipe.trust_remote_code), member.model.config
        model.config.id2label, model.config.label2id = named.id2label, named.label2id
        loaded.append(replace(member, model=model))
    for said in doubts_of_teacher(plan.task, plan.data, loaded, recipe.data):
        yield Finding("warning", "teacher", said)


PLAN_CHECKS: tuple[Check[Plan], ...] = (
    arguments,
    task,
    finished_teacher,
    data,
    new_heads,
    student,
    given_answers,
    trainings,
    reading,
    metrics,
    views,
    validation,
    objective,
    exports,
    hub,
    teacher_worth,
)


def tokenised(rows: RunRows) -> None:
    """The rows as the models read them."""
    _ = rows.train, rows.validation


def refuse_what_cannot_be_kept(rows: RunRows, is_asked_for: bool = False) -> None:
    """Whether answers that are to be kept can be."""
    keeping = rows.plan.keeping_if_asked(is_asked_for)
    if keeping.is_refused:
        raise DistillationError(
            f"the teacher's answers cannot be kept: {keeping.why_live.rstrip('.')}. Leave out distilnlp cache, and a "
            "folder in training.teacher_cache."
        )


ROW_CHECKS: tuple[Check[RunRows], ...] = (tokenised, refuse_what_cannot_be_kept)


def _rehearse(values: Mapping[str, Any], plan: Plan) -> None:
    """Set up a training without training, so that what the Trainer cannot do is known before anything is trained."""
    row = Dataset.from_dict({"input_ids": [[0]]})
    with tempfile.TemporaryDirectory() as folder, _blank(plan.student) as student:
        alone = {**values, **LABELS_ALONE, "losses": None, "schedules": None}
        args = build_arguments(alone, plan.recipe.seed, Path(folder))
        try:
            trainer = DistillationTrainer(student, None, args, default_data_collator, row, row)
            trainer.set_initial_training_values(args, trainer.get_train_dataloader())
            trainer.create_optimizer_and_scheduler(num_training_steps=1)
        except DistillationError:
            raise
        except Exception as error:  # the Trainer and the optimizers raise many kinds
            raise DistillationError(
                f"these training arguments cannot be honoured: {type(error).__name__}: {error} Change or remove them."
            ) from error


@contextmanager
def _blank(shape: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Give a shape weights of zeros, in the block."""
    shape.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*shape.parameters(), *shape.buffers()):
            tensor.zero_()
    try:
        yield shape
    finally:
        shape.to("meta")  # type: ignore[arg-type]


def _check_best_metric(values: Mapping[str, Any], plan: Plan) -> None:
    """Refuse a metric to choose the best checkpoint by that no evaluation gives."""
    given = values.get("metric_for_best_model")
    if given is None:
        return
    names = [
        *plan.task.evaluation.training_metrics(plan.student.config),
        "loss",
        *(["soft_loss"] if values.get("eval_soft_loss") else []),
    ]
    name = given.removeprefix("eval_")
    if name not in names:
        near = [known for known in names if name in known]
        hint = f" Did you mean {near[0]!r}?" if near else did_you_mean(name, names)
        raise DistillationError(
            f"metric_for_best_model must be one of {names}, what an evaluation during this training gives, but it is "
            f"{shown(given)}.{hint}"
        )
