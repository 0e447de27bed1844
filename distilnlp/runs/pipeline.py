"""The stages of a run: fine-tune the teacher, build the student, distil, train the baseline, evaluate."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset

from distilnlp.answers import CachedTeacher, DiskFullError, damaged_shards
from distilnlp.data import fingerprint, pair_encodings
from distilnlp.errors import DistillationError, NotKeptError
from distilnlp.evaluation import CUT_TEACHER, ModelReport, SpeedPlan, verdict
from distilnlp.files import remove, write_json
from distilnlp.models.identity import model_fingerprint
from distilnlp.objective import Objective
from distilnlp.recipe.sections import Recipe, build_arguments
from distilnlp.runs.encoding import EncodedRows
from distilnlp.runs.environment import describe_environment
from distilnlp.runs.folder import CACHE, FOLDS, MEMBERS, check_folder, claimed, naming_the_disk
from distilnlp.runs.judging import warn_of_teacher
from distilnlp.runs.measurement import measure, readings_of_run
from distilnlp.runs.model_card import CARD, write_model_card
from distilnlp.runs.models import cut_student, load_labelled, new_head, pretrained_student
from distilnlp.runs.pairing import paired_training_rows, side_by_side
from distilnlp.runs.plan import Plan, describe, make_plan
from distilnlp.runs.stages import Stage
from distilnlp.runs.teacher import FinishedTeacher
from distilnlp.runs.training import FINISHED, distil, learn_labels
from distilnlp.signals.names import FOLD, TEACHER
from distilnlp.tasks import profile_of
from distilnlp.training.keeping import Keeping, Questions, decide_keeping, keep_answers, obstacle_in_rows

logger = logging.getLogger(__name__)


def run(recipe: Recipe, overwrite: bool = False) -> dict[str, Any]:
    """Carry out a recipe and return the content of its `results.json`.

    Args:
        recipe: what to do; see `load_recipe`.
        overwrite: delete what another run left in the output folder.

    Raises:
        DistillationError: something does not fit; before any training.
        OSError: a disk is full or broken; what was finished is kept.
    """
    with _pipeline(recipe, overwrite) as pipeline:
        return pipeline.run()


def cache(recipe: Recipe, overwrite: bool = False) -> Path:
    """Carry out a recipe up to the teacher's answers to the training rows, and return the folder they are kept in.

    Raises:
        DistillationError: something does not fit, or these answers cannot be kept.
        OSError: see `run`.
    """
    with _pipeline(recipe, overwrite, keeps_answers=True) as pipeline:
        return pipeline.cache()


@contextmanager
def _pipeline(recipe: Recipe, overwrite: bool, keeps_answers: bool = False) -> Iterator["Pipeline"]:
    """Check a recipe, and work alone in its folder while this lasts."""
    with naming_the_disk(Path(recipe.output)):
        check_folder(recipe, overwrite)
        plan = make_plan(recipe)
        state = PartialState()
        if state.is_main_process:
            logger.info("plan\n%s", describe(plan))
        pipeline = Pipeline(plan)  # it tokenises; nothing is deleted or written before the last check
        pipeline.refuse_what_cannot_be_kept(keeps_answers)
        state.wait_for_everyone()
        with claimed(recipe, overwrite) if state.is_main_process else nullcontext():
            state.wait_for_everyone()
            yield pipeline


class Pipeline:
    """Carries out a plan, stage by stage. Under a launcher every process runs the same stages."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.recipe = plan.recipe
        self.folder = Path(plan.recipe.output)
        self.state = PartialState()
        self.student_args = build_arguments(plan.trainings["student"], self.recipe.seed, self.folder)
        student = profile_of(plan.student)
        self.objective: Objective = self.student_args.build_objective(plan.task, student, plan.teacher_profile)
        self.student_rows = EncodedRows.of_student(plan)
        self.member_rows = self._encode_members()
        self.teacher_rows, self.train = self._join_members(), self.student_rows.train
        if plan.has_two_views:
            self.student_rows, self.teacher_rows = side_by_side(plan, self.student_rows, self.teacher_rows)
            self.train = paired_training_rows(plan, self.student_rows, self.teacher_rows, self.objective)
        # Evaluation while training asks the teacher only if it is told to.
        asks_teacher = plan.trainings["student"].get("eval_soft_loss") and plan.has_two_views
        own, other = self.student_rows.validation, self.teacher_rows.validation
        self.validation = pair_encodings(own, other) if asks_teacher and own and other else own

    def run(self) -> dict[str, Any]:
        """Run every stage that is not up to date, and return the results."""
        teacher = self._finished_teacher()
        initial = self._build_student(teacher)
        baseline = self._train_baseline(initial) if self.recipe.baseline else None
        student = self._distil(initial, teacher, self._keep_answers(teacher), baseline)
        return self._evaluate(teacher, student, baseline)

    def cache(self) -> Path:
        """Run the stages up to the teacher's answers, and return the folder that they are kept in.

        Raises:
            DistillationError: they cannot be kept.
        """
        folder = self._keep_answers(self._finished_teacher(), is_wanted=True)
        assert folder is not None
        return folder

    # ---- The stages ----

    def _finished_teacher(self) -> FinishedTeacher:
        """Return the teacher, its models fine-tuned if they are to be: one, one a member or one a fold."""
        config, members = self.recipe.teacher, self.plan.members
        how = [config.average, config.weights, config.by_confidence, config.columns, config.form]
        parts = [] if len(members) == 1 else [json.dumps(how)]
        if not config.finetune:
            parts += [model_fingerprint(member.source, member.model) for member in members]
            return FinishedTeacher(self.plan, tuple(config.models), " ".join(parts))
        stages = [self._finetune(index, fold) for index in range(len(members)) for fold in range(config.folds or 1)]
        identity = " ".join([*parts, *(stage.digest for stage in stages)])
        return FinishedTeacher(self.plan, tuple(stage.result for stage in stages), identity)

    def _finetune(self, index: int, fold: int) -> Stage:
        """Fine-tune a member of the teacher on the labelled rows; with folds, on those of the other folds."""
        plan, values, member = self.plan, self.plan.trainings["teacher"], self.plan.members[index]
        labelled = plan.data.labelled
        encoder = model_fingerprint(member.source, member.model)
        inputs: dict[str, Any] = {"encoder": encoder, "arguments": values, **self._data_inputs(plan.data.labelled)}
        name = output = "teacher"
        if len(plan.members) > 1:
            name, output = f"teacher_{index}", f"{MEMBERS}/{index}"
        elif self.recipe.teacher.folds is not None:
            name, output, inputs["fold"] = f"teacher_fold_{fold}", f"{FOLDS}/{fold}", fold
            labelled = labelled.select(np.flatnonzero(np.asarray(labelled[FOLD][:]) != fold))
        stage = self._stage(name, output, inputs)

        def make(work: Path) -> Path:
            seed, trusted = self.recipe.seed, self.recipe.trust_remote_code
            encoder_with_head = new_head(member.source, plan.task, plan.data.label_names, seed, trusted)
            return learn_labels(plan, "teacher", work, encoder_with_head, labelled, self.member_rows[index])

        stage.run(make)
        return stage

    def refuse_what_cannot_be_kept(self, is_wanted: bool) -> None:
        """Raise a `DistillationError` if the teacher's answers cannot be kept on disk although that is asked for."""
        keeping = self._keeping(is_wanted)
        if keeping.is_refused:
            raise DistillationError(
                f"the teacher's answers cannot be kept: {keeping.why_live.rstrip('.')}. Leave out distilnlp cache, and "
                "a folder in training.teacher_cache."
            )

    def _keeping(self, is_wanted: bool) -> Keeping:
        plan, datasets = self.plan, self._questions().datasets
        known = "they stand in the data already" if self.recipe.teacher.columns else None
        return decide_keeping(
            self.student_args,
            plan.task,
            self.objective,
            plan.teacher_profile.num_labels,
            len(datasets[0]),
            self.folder / CACHE,
            obstacle=known or obstacle_in_rows(plan.task, datasets),
            is_asked_for=is_wanted,
        )

    def _keep_answers(self, teacher: FinishedTeacher, is_wanted: bool = False) -> Path | None:
        """Write the teacher's answers to disk where that is wanted, or faster than to ask it in every epoch."""
        args, objective, questions = self.student_args, self.objective, self._questions()
        keeping = self._keeping(is_wanted)
        if keeping.folder is None:
            return None
        if keeping.is_named:
            return self._write_answers(keeping.folder, teacher, is_own=False)
        inputs = {
            "teacher": teacher.identity,
            "signals": [sorted(objective.teacher_request.hidden_states), sorted(objective.teacher_request.qkv)],
            "dtypes": [args.teacher_dtype, args.teacher_cache_dtype],
            "datasets": [fingerprint(rows) for rows in questions.datasets],
            **self._data_inputs(self.plan.data.train),
        }
        stage = Stage(self.folder, "teacher_cache", CACHE, inputs, self.state, damaged_shards)
        try:
            return stage.run(lambda work: self._write_answers(work / CACHE, teacher, is_own=True))
        except NotKeptError as error:
            if is_wanted or isinstance(error, DiskFullError):
                raise
            logger.warning("teacher: runs beside the student, for %s", error)
            return None

    def _write_answers(self, folder: Path, teacher: FinishedTeacher, is_own: bool) -> Path:
        live = teacher.live(self.student_args.teacher_dtype)
        live.to(self.state.device)
        keep_answers(folder, self.student_args, live, self._questions(), overwrite=is_own, further=self._folds())
        return folder

    def _questions(self) -> Questions:
        """Return what the teacher is asked: its columns of the very rows that the student trains on."""
        prefix = TEACHER if self.plan.has_two_views else ""
        parts = [self.train, *([self.validation] if self.student_args.eval_soft_loss and self.validation else [])]
        asked = [part.select_columns([n for n in part.column_names if n.startswith(prefix)]) for part in parts]
        rows = self.teacher_rows
        return Questions(self.plan.task, self.objective, asked, rows.collate, rows.tokenizers, prefix)

    def _build_student(self, teacher: FinishedTeacher) -> Stage:
        student, plan = self.recipe.student, self.plan
        inputs: dict[str, Any] = {"teacher": teacher.identity, "student": student.model_dump()}
        if student.changes_width or student.trim_vocabulary:  # these look at the text
            inputs |= self._data_inputs(plan.data.train)
        if student.model is not None:  # another folder's weights, and a head that the seed draws
            inputs |= {"model": model_fingerprint(student.model, plan.student), "seed": self.recipe.seed}
        stage = self._stage("student_init", "work/initial_student", inputs)

        def make(work: Path) -> Path:
            if student.model is not None:
                made, _ = pretrained_student(self.recipe, plan.task, plan.data.label_names)
            else:
                tokenizer, rows = plan.members[0].tokenizer, plan.data.train
                made, _ = cut_student(self.recipe, teacher.first(), tokenizer, plan.task, rows, plan.max_length)
            if self.state.is_main_process:
                remove(work / FINISHED)  # a kill may have left half of it
                made.save_pretrained(work / FINISHED)
            return work / FINISHED

        stage.run(make)
        return stage

    def _train_baseline(self, initial: Stage) -> Stage:
        """Train the student on the labels alone."""
        stage = self._training_stage("baseline", initial, self.plan.data.labelled)

        def make(work: Path) -> Path:
            model = self._load(initial.result)
            return learn_labels(self.plan, "baseline", work, model, self.plan.data.labelled, self.student_rows)

        stage.run(make)
        return stage

    def _distil(self, initial: Stage, teacher: FinishedTeacher, answers: Path | None, baseline: Stage | None) -> Stage:
        """Train the student on the teacher's answers, kept or live, and on the labels."""
        stage = self._training_stage("student", initial, self.plan.data.train)

        def make(work: Path) -> Path:
            if self.state.is_main_process and (baseline or self.recipe.teacher.finetune):
                self._judge(teacher, baseline)
            kept = None if answers is None else CachedTeacher(answers, verify=False)
            asked = kept or teacher.live(self.student_args.teacher_dtype)
            rows = self.train, self.validation, self.student_rows, self.teacher_rows
            return distil(self.plan, work, self._load(initial.result), asked, *rows)

        stage.run(make)
        return stage

    def _judge(self, teacher: FinishedTeacher, baseline: Stage | None) -> None:
        """Warn of a teacher that is worth little, on rows that no training has learned."""
        models: dict[str, Any] = {"teacher": teacher.judged()} if teacher.folders else {}
        if baseline is not None:
            models["baseline"] = self._load(baseline.result)
        for model in models.values():
            model.to(self.state.device)
        warn_of_teacher(self.plan, models, {"teacher": self.teacher_rows, "baseline": self.student_rows})

    def _evaluate(self, teacher: FinishedTeacher, student: Stage, baseline: Stage | None) -> dict[str, Any]:
        stages = {"student": student} | ({} if baseline is None else {"baseline": baseline})
        made = {name: [stage.digest, stage.content] for name, stage in stages.items()}
        folders = {name: stage.result for name, stage in stages.items()}
        options = self.recipe.evaluation.model_dump()
        # What a report holds is an input too: figures that an older version wrote are measured again.
        report = sorted(ModelReport.__annotations__)
        inputs = {**made, "evaluation": options, "report": report, **self._data_inputs(self.plan.data.test)}
        stage = self._stage("evaluation", "results.json", inputs)

        card = student.result / CARD

        def make(work: Path) -> Path:
            if self.state.is_main_process:
                write_json(work / FINISHED, self._measure(teacher, folders))
                card.unlink(missing_ok=True)  # of other figures
            return work / FINISHED

        stage.run(make)
        results = json.loads(stage.result.read_text(encoding="utf-8"))
        if self.state.is_main_process and not card.is_file():  # one that is there may have been edited
            write_model_card(card, self.plan, results)
        return results

    # ---- What the stages share ----

    def _stage(self, name: str, output: str, inputs: dict[str, Any]) -> Stage:
        return Stage(self.folder, name, output, inputs, self.state)

    def _training_stage(self, name: str, initial: Stage, rows: Dataset) -> Stage:
        arguments = self.plan.trainings[name]
        inputs = {"initial_student": initial.digest, "arguments": arguments, **self._data_inputs(rows)}
        return self._stage(name, name, inputs)

    def _data_inputs(self, rows: Dataset) -> dict[str, Any]:
        plan = self.plan
        data = [fingerprint(rows), fingerprint(plan.data.validation), plan.data.label_names]
        lengths = [plan.max_length, *(member.max_length for member in plan.members)]
        return {"data": data, "max_length": lengths, "seed": self.recipe.seed}

    def _encode_members(self) -> list[EncodedRows]:
        """Tokenise what each model of the teacher reads, once for those that read alike."""
        plan = self.plan
        by_view = {} if plan.has_two_views else {(plan.tokenizer, plan.max_length): self.student_rows}
        for member in plan.members:
            if member.view not in by_view:
                by_view[member.view] = EncodedRows.of_member(plan, member)
        return [by_view[member.view] for member in plan.members]

    def _join_members(self) -> EncodedRows:
        """Return what the whole teacher reads: the first member's rows, with what others read beside them."""
        members = self.plan.members
        others = {member.prefix: rows for member, rows in zip(members, self.member_rows, strict=True) if member.prefix}
        first = self.member_rows[0] if members else self.student_rows
        return first.beside(others) if others else first

    def _folds(self) -> dict[str, Any]:
        """Return how many rows each fold has, by its number; -1 is answered by all."""
        if self.recipe.teacher.folds is None:
            return {}
        numbers, rows = np.unique(self.plan.data.train[FOLD][:], return_counts=True)
        return {"folds": {str(number): int(count) for number, count in zip(numbers, rows, strict=True)}}

    def _load(self, folder: Path) -> Any:
        return load_labelled(folder, self.plan.task, self.plan.data.label_names, self.recipe.trust_remote_code)

    def _measure(self, teacher: FinishedTeacher, folders: dict[str, Path]) -> dict[str, Any]:
        is_measured = self.teacher_rows.test is not None and bool(teacher.folders)
        if not is_measured:
            logger.info("the test rows lack what the teacher reads, or its answers, so it is not measured")
        models: dict[str, Any] = {"teacher": teacher.judged()} if is_measured else {}
        models |= {name: self._load(folder) for name, folder in folders.items()}
        for model in models.values():
            model.to(self.state.device)
        models[CUT_TEACHER] = models.get("teacher")
        reports = measure(
            models,
            readings_of_run(self.plan, self.student_rows, self.teacher_rows if is_measured else None),
            self.plan.task,
            resamples=self.recipe.evaluation.bootstrap_resamples,
            speed_plan=SpeedPlan() if self.recipe.evaluation.speed else None,
        )
        data = self.plan.data
        counts = {"train": len(data.train), "labelled": len(data.labelled), "test": len(data.test)}
        return {
            "models": reports,
            "verdict": verdict(reports),
            "rows": counts,
            "environment": describe_environment(),
            "processes": self.state.num_processes,
        }
