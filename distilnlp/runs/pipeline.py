"""The stages of a run: fine-tune the teacher, build the student, distil, train the baseline, evaluate."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import PreTrainedModel

from distilnlp.arguments import DistillationTrainingArguments
from distilnlp.cache import damaged_shards
from distilnlp.checkpoints import last_complete_checkpoint
from distilnlp.data import FOLD, fingerprint, pair_encodings, same_positions
from distilnlp.data.pairs import TEACHER
from distilnlp.errors import DistillationError, NotKeptError
from distilnlp.evaluation import SpeedPlan, evaluate_models
from distilnlp.fingerprints import model_fingerprint
from distilnlp.objective import Objective
from distilnlp.recipe import Recipe, build_arguments
from distilnlp.runs.encoding import EncodedRows
from distilnlp.runs.environment import describe_environment
from distilnlp.runs.folder import CACHE, FOLDS, alone_in, check_folder, claim_folder, clear_folder
from distilnlp.runs.model_card import write_model_card
from distilnlp.runs.models import collator_of, make_student, named, new_head
from distilnlp.runs.plan import Plan, describe, make_plan
from distilnlp.runs.stages import Stage, write_json
from distilnlp.tasks import profile_of
from distilnlp.tasks.collators import AllEncodings
from distilnlp.teacher_cache import AUTO, OFF, Questions, keep_answers, reads_again
from distilnlp.teachers import AveragedModel, CachedTeacher, CrossFittedTeacher, Teacher, as_teacher
from distilnlp.trainer import DistillationTrainer

logger = logging.getLogger(__name__)

FINISHED = "finished"


def run(recipe: Recipe, overwrite: bool = False) -> dict[str, Any]:
    """Carry out a recipe and return the content of its `results.json`.

    Args:
        recipe: what to do; see `load_recipe`.
        overwrite: delete what another run left in the output folder.

    Raises:
        DistillationError: something does not fit; before any training.
    """
    with _pipeline(recipe, overwrite) as pipeline:
        return pipeline.run()


def cache(recipe: Recipe, overwrite: bool = False) -> Path:
    """Carry out a recipe up to the teacher's answers to the training rows, and return the folder they are kept in.

    Raises:
        DistillationError: something does not fit, or these answers cannot be kept.
    """
    with _pipeline(recipe, overwrite) as pipeline:
        return pipeline.cache()


@contextmanager
def _pipeline(recipe: Recipe, overwrite: bool) -> Iterator["Pipeline"]:
    """Check a recipe, and work alone in its folder while this lasts."""
    check_folder(recipe, overwrite)
    plan = make_plan(recipe)
    state = PartialState()
    if state.is_main_process:
        logger.info("plan\n%s", describe(plan))
    pipeline = Pipeline(plan)  # it tokenises, which is the last check: nothing is deleted or written before
    state.wait_for_everyone()
    with alone_in(Path(recipe.output)) if state.is_main_process else nullcontext():
        if state.is_main_process:
            if overwrite:
                clear_folder(recipe)
            claim_folder(recipe)
        state.wait_for_everyone()
        yield pipeline


@dataclass(frozen=True)
class FinishedTeacher:
    """A teacher that needs no more training.

    Attributes:
        folders: its folder or Hub id; with folds, one a fold.
        identity: what tells it from others.
    """

    folders: tuple[Path | str, ...]
    identity: str


class Pipeline:
    """Carries out a plan, stage by stage. Under a launcher every process runs the same stages."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.recipe = plan.recipe
        self.folder = Path(plan.recipe.output)
        self.state = PartialState()
        self.student_rows = EncodedRows.of_student(plan)
        self.teacher_rows, self.train = self.student_rows, self.student_rows.train
        if plan.has_two_views:
            self.teacher_rows = EncodedRows.of_teacher(plan)
            self.train = pair_encodings(self.train, self.teacher_rows.train)
            self._check_same_tokens()
        # Evaluation while training asks the teacher only if it is told to.
        asks_teacher = plan.trainings["student"].get("eval_soft_loss") and plan.has_two_views
        own, other = self.student_rows.validation, self.teacher_rows.validation
        if asks_teacher and own and not other:
            raise DistillationError(
                f"eval_soft_loss asks the teacher about the validation rows, but these lack some of the columns "
                f"{plan.recipe.teacher.text_columns} that it reads. Set eval_soft_loss to false."
            )
        self.validation = pair_encodings(own, other) if asks_teacher and own and other else own

    def run(self) -> dict[str, Any]:
        """Run every stage that is not up to date, and return the results."""
        teacher = self._finetune_teacher()
        initial = self._build_student(teacher)
        student = self._train_student("student", initial, teacher, self._keep_answers(teacher))
        baseline = self._train_student("baseline", initial, None) if self.recipe.baseline else None
        return self._evaluate(teacher, student, baseline)

    def cache(self) -> Path:
        """Run the stages up to the teacher's answers, and return the folder that they are kept in.

        Raises:
            DistillationError: they cannot be kept.
        """
        stage = self._keep_answers(self._finetune_teacher(), is_wanted=True)
        assert stage is not None
        return stage.result

    # ---- The stages ----

    def _finetune_teacher(self) -> FinishedTeacher:
        """Return the finished teacher, or one for each fold."""
        name = self.recipe.teacher.model
        model_id = model_fingerprint(name, self.plan.teacher)
        if not self.recipe.teacher.finetune:
            return FinishedTeacher((name,), model_id)
        stages = [self._finetune(model_id, fold) for fold in range(self.recipe.teacher.folds or 1)]
        return FinishedTeacher(tuple(stage.result for stage in stages), " ".join(stage.digest for stage in stages))

    def _finetune(self, encoder: str, fold: int) -> Stage:
        """Fine-tune a teacher on the labelled rows; with folds, on those of the other folds."""
        plan, values, rows = self.plan, self.plan.trainings["teacher"], self.teacher_rows.labelled
        inputs = {"encoder": encoder, "arguments": values, **self._data_inputs(plan.data.labelled)}
        if self.recipe.teacher.folds is None:
            stage = self._stage("teacher", "teacher", inputs)
        else:
            stage = self._stage(f"teacher_fold_{fold}", f"{FOLDS}/{fold}", {**inputs, "fold": fold})
            rows = rows.select(np.flatnonzero(np.asarray(rows[FOLD][:]) != fold))

        def make(work: Path) -> Path:
            encoder_with_head = new_head(self.recipe.teacher.model, plan.task, plan.data.label_names, self.recipe.seed)
            return self._train(work, encoder_with_head, None, values, rows, self.teacher_rows)

        stage.run(make)
        return stage

    def _keep_answers(self, teacher: FinishedTeacher, is_wanted: bool = False) -> Stage | None:
        """Write the teacher's answers to disk where that is wanted, or faster than to ask it in every epoch."""
        values = self.plan.trainings["student"]
        args = build_arguments(values, self.recipe.seed, self.folder)
        objective, rows = self._objective(args), self.teacher_rows
        asked = [rows.train, *([rows.validation] if args.eval_soft_loss and rows.validation else [])]
        collate = collator_of(self.plan.task, rows.tokenizer, self.recipe.data)
        questions = Questions(self.plan.task, objective.teacher_request, asked, collate, {"": rows.tokenizer})
        reason = questions.why_not_kept()
        if is_wanted and reason:
            raise DistillationError(
                f"distilnlp cache cannot keep the teacher's answers: {reason.rstrip('.')}. Run the recipe without it: "
                "the teacher then runs beside the student."
            )
        is_faster = objective.needs_teacher and args.teacher_cache == AUTO and reads_again(args, len(rows.train))
        if reason or not (is_wanted or is_faster):
            return None
        inputs = {
            "teacher": teacher.identity,
            "signals": [sorted(objective.teacher_request.hidden_states), sorted(objective.teacher_request.qkv)],
            "dtypes": [args.teacher_dtype, args.teacher_cache_dtype],
            "datasets": [fingerprint(rows) for rows in asked],
            **self._data_inputs(self.plan.data.train),
        }
        stage = self._stage("teacher_cache", CACHE, inputs)

        def write(folder: Path) -> Path:
            live = self._live(teacher, args)
            live.to(self.state.device)
            keep_answers(folder, args, live, questions, overwrite=False, further=self._folds())
            return folder

        try:
            stage.run(lambda work: write(work / CACHE))
            if broadcast_object_list([self.state.is_main_process and damaged_shards(stage.result)])[0]:
                write(stage.result)  # what is whole is kept
        except NotKeptError:
            if is_wanted:
                raise
            return None
        return stage

    def _build_student(self, teacher: FinishedTeacher) -> Stage:
        student, plan = self.recipe.student, self.plan
        inputs: dict[str, Any] = {"teacher": teacher.identity, "student": student.model_dump()}
        if student.changes_width or student.trim_vocabulary:  # these look at the text
            inputs |= self._data_inputs(plan.data.train)
        if student.model is not None:  # another folder's weights, and a head that the seed draws
            inputs |= {"model": model_fingerprint(student.model, plan.student), "seed": self.recipe.seed}
        stage = self._stage("student_init", "work/initial_student", inputs)

        def make(work: Path) -> Path:
            model = self._load(teacher.folders[0], dtype=torch.float32)  # it is to be trained
            made, _ = make_student(
                self.recipe, model, plan.teacher_tokenizer, plan.task, plan.data.train, plan.max_length
            )
            self._save(made, work / FINISHED)
            return work / FINISHED

        stage.run(make)
        return stage

    def _train_student(
        self, name: str, initial: Stage, teacher: FinishedTeacher | None, answers: Stage | None = None
    ) -> Stage:
        """Distil the student, or without a teacher train the baseline: the same student on the labels alone."""
        rows = self.plan.data.labelled if teacher is None else self.plan.data.train
        values = self.plan.trainings[name]
        inputs = {"initial_student": initial.digest, "arguments": values, **self._data_inputs(rows)}
        stage = self._stage(name, name, inputs)

        def make(work: Path) -> Path:
            model = self._load(initial.result)
            if teacher is None:
                return self._train(work, model, None, values, self.student_rows.labelled, self.student_rows)
            args = build_arguments(values, self.recipe.seed, work)
            asked = self._live(teacher, args) if answers is None else CachedTeacher(answers.result, verify=False)
            # Whether answers are kept is decided here, once, and not again by the trainer.
            settled = {**values, "teacher_cache": OFF if args.teacher_cache == AUTO else args.teacher_cache}
            return self._train(work, model, asked, settled, self.train, self.student_rows)

        stage.run(make)
        return stage

    def _evaluate(self, teacher: FinishedTeacher, student: Stage, baseline: Stage | None) -> dict[str, Any]:
        folders: dict[str, tuple[Path | str, ...]] = {"teacher": teacher.folders, "student": (student.result,)}
        digests = {"student": student.digest}
        if baseline is not None:
            folders["baseline"], digests["baseline"] = (baseline.result,), baseline.digest
        options = self.recipe.evaluation.model_dump()
        inputs = {**digests, "evaluation": options, **self._data_inputs(self.plan.data.test)}
        stage = self._stage("evaluation", "results.json", inputs)

        def make(work: Path) -> Path:
            if self.state.is_main_process:
                write_json(work / FINISHED, self._measure(folders))
            return work / FINISHED

        stage.run(make)
        results = json.loads(stage.result.read_text(encoding="utf-8"))
        if self.state.is_main_process:
            write_model_card(student.result, self.plan, results)
        return results

    # ---- What the stages share ----

    def _stage(self, name: str, output: str, inputs: dict[str, Any]) -> Stage:
        return Stage(self.folder, name, output, inputs, self.state)

    def _data_inputs(self, rows: Dataset) -> dict[str, Any]:
        plan = self.plan
        data = [fingerprint(rows), fingerprint(plan.data.validation), plan.data.label_names]
        return {"data": data, "max_length": [plan.max_length, plan.teacher_max_length], "seed": self.recipe.seed}

    def _check_same_tokens(self) -> None:
        """Refuse two tokenizers that split the training texts differently, where the objective compares tokens."""
        objective = self._objective(build_arguments(self.plan.trainings["student"], self.recipe.seed, self.folder))
        if objective.compares_tokens and not same_positions(self.train):
            raise DistillationError(
                f"{', '.join(c.name for c in objective.components if c.compares_tokens)} compares student and teacher "
                "token by token, but their tokenizers split the training texts differently. Use a student with the "
                "teacher's tokenizer, or losses on the logits of whole texts or on relations among texts."
            )

    def _live(self, teacher: FinishedTeacher, args: DistillationTrainingArguments) -> Teacher:
        members = [as_teacher(self._load(folder), args.teacher_dtype) for folder in teacher.folders]
        return members[0] if self.recipe.teacher.folds is None else CrossFittedTeacher(members)

    def _folds(self) -> dict[str, Any]:
        """Return how many rows each fold has, by its number; -1 is answered by all."""
        if self.recipe.teacher.folds is None:
            return {}
        numbers, rows = np.unique(self.plan.data.train[FOLD][:], return_counts=True)
        return {"folds": {str(number): int(count) for number, count in zip(numbers, rows, strict=True)}}

    def _judged(self, folders: tuple[Path | str, ...]) -> Any:
        """Load what is evaluated as one model: the teachers of several folds answer by their mean."""
        models = [self._load(folder) for folder in folders]
        return models[0] if len(models) == 1 else AveragedModel(models, self.plan.task)

    def _objective(self, args: DistillationTrainingArguments) -> Objective:
        return args.build_objective(self.plan.task, profile_of(self.plan.student), self.plan.teacher_profile)

    def _load(self, folder: Path | str, **options: Any) -> PreTrainedModel:
        names = self.plan.data.label_names
        return named(self.plan.task.auto_class.from_pretrained(str(folder), **options), names)

    def _save(self, model: PreTrainedModel, folder: Path) -> None:
        if self.state.is_main_process:
            model.save_pretrained(folder)

    def _train(
        self,
        work: Path,
        model: PreTrainedModel,
        teacher: Teacher | None,
        values: dict[str, Any],
        rows: Dataset,
        encoded: EncodedRows,
    ) -> Path:
        """Train, or go on from the last checkpoint, and save the finished model with its tokenizer."""
        own = collator_of(self.plan.task, encoded.tokenizer, self.recipe.data)
        needs_both = teacher is not None and self.plan.has_two_views
        other = collator_of(self.plan.task, self.plan.teacher_tokenizer, self.recipe.data) if needs_both else None
        trainer = DistillationTrainer(
            model=model,
            teacher_model=teacher,
            args=build_arguments(values, self.recipe.seed, work),
            data_collator=own if other is None else AllEncodings(own, {TEACHER: other}),
            train_dataset=rows,
            eval_dataset=self.validation if needs_both else encoded.validation,
            processing_class=encoded.tokenizer,
            teacher_processing_class=self.plan.teacher_tokenizer if needs_both else None,
            compute_metrics=self.plan.task.evaluation.compute_metrics(model.config),
        )
        trainer.train(resume_from_checkpoint=last_complete_checkpoint(work))
        trainer.save_model(str(work / FINISHED))
        if self.state.is_main_process:
            # A pickle has no place in a deployed folder.
            (work / FINISHED / "training_args.bin").unlink(missing_ok=True)
        return work / FINISHED

    def _measure(self, folders: dict[str, tuple[Path | str, ...]]) -> dict[str, Any]:
        if self.teacher_rows.test is None:
            logger.info("the test rows lack what the teacher reads, so it is not measured")
            folders = {name: own for name, own in folders.items() if name != "teacher"}
        models = {name: self._judged(own).to(self.state.device) for name, own in folders.items()}
        plan = SpeedPlan() if self.recipe.evaluation.speed else None
        rows = {name: self.teacher_rows if name == "teacher" else self.student_rows for name in folders}
        tests = {id(own): list(own.test or ()) for own in rows.values()}
        reports = evaluate_models(
            models,
            {name: tests[id(own)] for name, own in rows.items()},
            {name: collator_of(self.plan.task, own.tokenizer, self.recipe.data) for name, own in rows.items()},
            task=self.plan.task.evaluation,
            reference="teacher" if "teacher" in models else None,
            resamples=self.recipe.evaluation.bootstrap_resamples,
            speed_plan=plan,
        )
        data = self.plan.data
        counts = {"train": len(data.train), "labelled": len(data.labelled), "test": len(data.test)}
        return {
            "models": reports,
            "rows": counts,
            "environment": describe_environment(),
            "processes": self.state.num_processes,
        }
