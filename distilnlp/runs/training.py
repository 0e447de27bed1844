"""The trainings of a run: a model learns the labels, or a student learns from its teacher."""

import shutil
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback

from distilnlp.answers.keeping import OFF
from distilnlp.data import labelled_rows
from distilnlp.export.rounding import rounded
from distilnlp.files import remove
from distilnlp.recipe.defaults import build_arguments
from distilnlp.runs.models import load_labelled
from distilnlp.runs.plan import IN_INT8, Plan
from distilnlp.runs.rows import EncodedRows, RunRows
from distilnlp.runs.stages import HISTORY
from distilnlp.signals import TEACHER
from distilnlp.teachers import DistillationCollator, Teacher
from distilnlp.training.card import CARD
from distilnlp.training.checkpoints import forget_newer, last_complete_checkpoint
from distilnlp.training.history import HistoryCallback, keep_logs
from distilnlp.training.progress import ProgressOfStep
from distilnlp.training.stopping import HELD_OUT, StopAtBest, hold_out
from distilnlp.training.trainer import DistillationTrainer

FINISHED = "finished"


def learn_labels(
    plan: Plan, name: str, work: Path, model: PreTrainedModel, labelled: Dataset, encoded: EncodedRows
) -> Path:
    """Train on the labels alone, until the score on rows that are not learned stops rising where the plan says so.

    Args:
        plan: of the run.
        name: of the training, `teacher` or `baseline`.
        work: folder of what is unfinished.
        model: what learns.
        labelled: normalised rows.
        encoded: what the model reads.

    Returns:
        The folder of the finished model.
    """
    learned, judged_on = labelled, encoded.validation
    if plan.stopped.get(name) == HELD_OUT:
        learned, held = hold_out(labelled, plan.task.rows, plan.recipe.seed)
        judged_on = encoded.encode(held, "held-out", for_evaluation=True)
    rows = labelled_rows(encoded.encode(learned, "labelled"), plan.task.rows)
    data = {"train_dataset": rows, "eval_dataset": judged_on, "data_collator": encoded.collate}
    return _train(plan, name, work, encoded, plan.trainings[name], model=model, **data)


def distil(plan: Plan, work: Path, model: PreTrainedModel, teacher: Teacher, rows: RunRows) -> Path:
    """Train a student on a teacher's answers and on the labels, and on as int8 will compute it where that is asked.

    Args:
        plan: of the run.
        work: folder of what is unfinished.
        model: the student.
        teacher: live, or its kept answers.
        rows: what both read.

    Returns:
        The folder of the finished student.
    """
    finished = _distil(plan, "student", work, model, teacher, rows)
    if IN_INT8 not in plan.trainings:
        return finished
    again = load_labelled(finished, plan.task, plan.data.label_names, plan.recipe.trust_remote_code)
    with rounded(again):
        return _distil(plan, IN_INT8, work / IN_INT8, again, teacher, rows)


def _distil(plan: Plan, name: str, work: Path, model: PreTrainedModel, teacher: Teacher, rows: RunRows) -> Path:
    # Whether answers are kept was decided before, once, and is not decided again by the trainer.
    values, student = {**plan.trainings[name], "teacher_cache": OFF}, rows.student
    data: dict[str, Any] = {"train_dataset": rows.train, "eval_dataset": rows.validation}
    data["data_collator"] = student.collate
    if plan.has_two_views:
        data["data_collator"] = DistillationCollator(student.collate, {TEACHER: rows.teacher.collate})
        data["teacher_processing_class"] = rows.teacher.tokenizer
    return _train(plan, name, work, student, values, model=model, teacher_model=teacher, **data)


def _train(plan: Plan, name: str, work: Path, encoded: EncodedRows, values: dict[str, Any], **options: Any) -> Path:
    """Train, or go on from the last checkpoint, and save the finished model with its tokenizer."""
    encoded.tokenizer.model_max_length = encoded.max_length  # saved with the model: it is served as it was trained
    history = work / f"{HISTORY}.jsonl"
    trainer = DistillationTrainer(
        args=build_arguments(values, plan.recipe.seed, work),
        processing_class=encoded.tokenizer,
        compute_metrics=plan.task.evaluation.compute_metrics(options["model"].config),
        callbacks=[StopAtBest()] if name in plan.stopped else [],
        **options,
    )
    objective = trainer.distillation_objective
    for shown in (ProgressCallback, PrinterCallback):  # the screen in use shows how far it is
        trainer.remove_callback(shown)
    trainer.add_callback(ProgressOfStep())
    trainer.add_callback(HistoryCallback(history, dict(zip(objective.names, objective.weights(), strict=True))))
    is_main = PartialState().is_main_process
    resumed = last_complete_checkpoint(work, trainer.args.load_best_model_at_end)
    if is_main:
        forget_newer(work, resumed)
    trainer.train(resume_from_checkpoint=resumed)
    if is_main and encoded.validation is not None:
        plan.task.evaluation.settle(
            trainer.accelerator.unwrap_model(trainer.model), list(encoded.validation), encoded.collate
        )
    if is_main:
        remove(work / FINISHED)  # a kill may have left half of it
    trainer.save_model(str(work / FINISHED))
    if is_main:
        # A pickle has no place in a deployed folder, and the run writes a card of its own, with figures.
        for name in ("training_args.bin", CARD):
            (work / FINISHED / name).unlink(missing_ok=True)
        keep_logs(work, work / FINISHED / HISTORY, FINISHED, history.name)
        shutil.copy2(history, work / FINISHED)
    return work / FINISHED
