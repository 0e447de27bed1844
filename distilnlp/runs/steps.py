"""The whole of a run: its steps, what each needs, and what goes into it."""

import json
import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset

from distilnlp.answers import CachedTeacher, DiskFullError, damaged_shards
from distilnlp.answers.keeping import keep_answers
from distilnlp.data import fingerprint
from distilnlp.errors import DistillationError, NotKeptError
from distilnlp.evaluation import ANSWERS, PREDICTIONS, ROWS, ModelReport, Predictions, write_rows
from distilnlp.export import ONNX, Runtime
from distilnlp.files import remove, write_json, write_text
from distilnlp.models.identity import model_fingerprint
from distilnlp.report import write_report
from distilnlp.runs.exporting import Export, export_of_run, runtimes_of, tried_on
from distilnlp.runs.folder import CACHE, FOLDS, MEMBERS, PUSHED, REPORT
from distilnlp.runs.graph import Step
from distilnlp.runs.measured import Measured
from distilnlp.runs.model_card import write_model_card
from distilnlp.runs.models import cut_student, load_labelled, new_head
from distilnlp.runs.plan import Plan
from distilnlp.runs.provenance import provenance
from distilnlp.runs.pushing import push_of_run
from distilnlp.runs.rows import RunRows
from distilnlp.runs.teacher import RunTeacher
from distilnlp.runs.teacher_worth import warn_of_teacher
from distilnlp.runs.training import FINISHED, distil, learn_labels
from distilnlp.signals import FOLD, student_view
from distilnlp.training.card import CARD

logger = logging.getLogger(__name__)

LIVE_MARK = "live.txt"  # in the place of answers that could not be kept: why the teacher runs beside the student


class Steps:
    """The steps of a run. Under a launcher every process asks for the same ones.

    Attributes:
        teacher: the teacher, whose models are the steps `trained_teachers` if they are fine-tuned first.
        initial_student: what the student and the baseline begin as.
        baseline: the student that learns from the labels alone; None if there is none.
        answers: the teacher's answers on disk, or the note that they cannot be kept.
        student: the student that learns from the teacher.
        exports: its graphs, a step a runtime.
        predictions: what the models answer to the test rows, with these rows.
        evaluation: `results.json`.
        card: the model card in the student's folder.
        report: `report.html`.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.recipe, self.folder = plan, plan.recipe, Path(plan.recipe.output)
        self.state = PartialState()
        self._fingerprints: dict[int, str] = {}  # of rows, by their identity: several keys have the same
        self.trained_teachers = self._teacher_trainings() if self.recipe.teacher.finetune else []
        self.teacher = RunTeacher(plan, tuple(self.trained_teachers or self.recipe.teacher.models))
        teachers, own = self.trained_teachers, self.recipe.student.model
        self.initial_student = self._step(
            "student_init",
            "work/initial_student",
            self._initial_key,
            self._cut_student,
            needs=lambda: teachers[:1] if own is None else [],
            title="initial student",
        )
        self.baseline = self._training("baseline", self._train_baseline) if self.recipe.baseline else None
        baseline = [] if self.baseline is None else [self.baseline]
        self.answers = self._step(
            "teacher_cache",
            CACHE,
            self._answers_key,
            self._ask_teacher,
            needs=lambda: teachers,
            find_damage=_damage,
            title="teacher's answers",
        )
        self.student = self._training("student", self._distil)
        self.trainings = [*teachers, *baseline, self.student]
        self.exports = [self._export(runtime) for runtime in runtimes_of(self.recipe.export)]
        made = [*self.trainings, *self.exports]
        self.predictions = self._step("predictions", PREDICTIONS, self._predictions_key, self._predict, lambda: made)
        self.evaluation = self._step(
            "evaluation", "results.json", self._evaluation_key, self._evaluate, lambda: [*made, self.predictions]
        )
        key, ask = self._results_key, lambda: [self.evaluation]
        self.card = self._step("card", f"student/{CARD}", key, self._write_card, ask, find_damage=_none_edited)
        self.report = self._step("report", REPORT, key, self._write_report, ask)
        measured = [*self.exports, self.predictions, self.evaluation, self.card, self.report]
        if self.recipe.push_to_hub.enabled:
            measured.append(self._step("push", PUSHED, self._push_key, self._push, lambda: measured[:-1]))
        self.ends = [*self.trainings, *measured]  # what a user reads or deploys
        self.all = [*teachers, self.initial_student, *baseline, self.answers, self.student, *measured]

    @cached_property
    def rows(self) -> RunRows:
        """What the models read."""
        return RunRows(self.plan)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to be made."""
        try:
            return all(step.is_up_to_date for step in self.ends)
        except DistillationError:  # something cannot be settled: the checks say it, in their order
            return False

    def results(self) -> dict[str, Any]:
        """Make what is not up to date, and return the content of `results.json`."""
        for step in self.ends:
            _ = step.result
        if self.state.is_main_process:
            for step in self.all:
                if not step.was_asked:
                    step.stage.say_reused()
        return self._results

    @property
    def _results(self) -> dict[str, Any]:
        results: dict[str, Any] = json.loads(self.evaluation.result.read_text(encoding="utf-8"))
        return results

    def kept_answers(self) -> Path:
        """Return the folder of the teacher's answers, which are kept now unless they are up to date.

        Raises:
            NotKeptError: they cannot be kept.
        """
        keeping = self.plan.keeping_if_asked(True)
        if keeping.is_named and keeping.folder is not None:
            return self.keep_answers(keeping.folder)
        folder, mark = self.answers.result, self.answers.result / LIVE_MARK
        if mark.is_file():
            raise NotKeptError(f"{mark.read_text(encoding='utf-8').strip()} Delete {folder} to try again.")
        return folder

    # ---- Trainings ----

    def _teacher_trainings(self) -> list[Step]:
        """Return the fine-tuning of each model of the teacher, or of one model once without each fold."""
        folds, several = self.recipe.teacher.folds, len(self.recipe.teacher.models) > 1
        if folds is not None:
            return [
                self._teacher_training(
                    0, f"teacher_fold_{fold}", f"{FOLDS}/{fold}", f"teacher without fold {fold}", fold
                )
                for fold in range(folds)
            ]
        return [
            self._teacher_training(index, f"teacher_{index}", f"{MEMBERS}/{index}", f"teacher {index}")
            if several
            else self._teacher_training(index, "teacher", "teacher")
            for index in range(len(self.recipe.teacher.models))
        ]

    def _teacher_training(
        self, index: int, name: str, output: str, title: str | None = None, fold: int | None = None
    ) -> Step:
        plan = self.plan

        def key() -> dict[str, Any]:
            member = plan.members[index]
            encoder = model_fingerprint(member.source, member.model)
            inputs = {"encoder": encoder, "arguments": plan.trainings["teacher"], **self._data_key(plan.data.labelled)}
            return inputs if fold is None else {**inputs, "fold": fold}

        def make(work: Path) -> Path:
            labelled, member, recipe = plan.data.labelled, plan.members[index], plan.recipe
            if fold is not None:
                labelled = labelled.select(np.flatnonzero(np.asarray(labelled[FOLD][:]) != fold))
            names, trusted = plan.data.label_names, recipe.trust_remote_code
            model = new_head(member.source, plan.task, names, recipe.seed, trusted)
            return learn_labels(plan, "teacher", work, model, labelled, self.rows.members[index])

        return self._step(name, output, key, make, title=title)

    def _training(self, name: str, make: Any) -> Step:
        """Return a training of the student, as `baseline` or as `student`."""
        plan = self.plan

        def key() -> dict[str, Any]:
            rows = plan.data.labelled if name == "baseline" else plan.data.train
            answers = {} if name == "baseline" else {"answers": "kept" if plan.keeping.folder else "live"}
            start = {"initial_student": self.initial_student.digest, "arguments": plan.arguments_of(name)}
            return {**start, **answers, **self._data_key(rows)}

        def needs() -> list[Step]:
            if name == "baseline":
                return [self.initial_student]
            asks = [self.answers] if plan.keeping.folder is not None and not plan.keeping.is_named else []
            return [self.initial_student, *self.trainings[:-1], *asks]

        return self._step(name, name, key, make, needs)

    def _train_baseline(self, work: Path) -> Path:
        model, labelled = self._load(self.initial_student.result), self.plan.data.labelled
        return learn_labels(self.plan, "baseline", work, model, labelled, self.rows.student)

    def _distil(self, work: Path) -> Path:
        plan, kept = self.plan, self.plan.keeping.folder
        if kept is not None:
            kept = self.keep_answers(kept) if plan.keeping.is_named else self.answers.result
        if self.state.is_main_process and self.trainings[:-1]:
            self._judge_teacher()
        if kept is None or (kept / LIVE_MARK).is_file():
            teacher = self.teacher.live(plan.student_args.teacher_dtype)
        else:
            teacher = CachedTeacher(kept, verify=False)
        return distil(plan, work, self._load(self.initial_student.result), teacher, self.rows)

    def _judge_teacher(self) -> None:
        """Warn of a teacher that is worth little, on rows that no training has learned."""
        models: dict[str, Any] = {"teacher": self.teacher.judged()} if self.teacher.models else {}
        if self.baseline is not None:
            models["baseline"] = self._load(self.baseline.result)
        warn_of_teacher(self.plan, {role: model.to(self.state.device) for role, model in models.items()}, self.rows)

    # ---- The initial student ----

    def _initial_key(self) -> dict[str, Any]:
        student, plan = self.recipe.student, self.plan
        inputs: dict[str, Any] = {"teacher": self.teacher.identity, "student": student.model_dump()}
        if student.changes_width or student.trim_vocabulary:  # these look at the text
            inputs |= self._data_key(plan.data.train)
        if student.model is not None:  # another folder's weights, and a head that the seed draws
            inputs |= {"model": model_fingerprint(student.model, plan.student), "seed": self.recipe.seed}
        return inputs

    def _cut_student(self, work: Path) -> Path:
        plan, name = self.plan, self.recipe.student.model
        if name is not None:
            trusted = self.recipe.trust_remote_code
            made = new_head(name, plan.task, plan.data.label_names, self.recipe.seed, trusted)
        else:
            reader = replace(plan.reader, tokenizer=plan.tokenizers[0])
            made = cut_student(self.recipe.student, self.teacher.first(), reader, plan.data.train, self.recipe.seed)
        if self.state.is_main_process:
            remove(work / FINISHED)  # a kill may have left half of it
            made.save_pretrained(work / FINISHED)
        return work / FINISHED

    # ---- The teacher's answers ----

    def _answers_key(self) -> dict[str, Any]:
        plan, args, request = self.plan, self.plan.student_args, self.plan.objective.teacher_request
        student = self.recipe.student  # whose pieces decide what the teacher is asked, where it has others
        reader = (
            model_fingerprint(student.model, plan.student) if student.model is not None else student.trim_vocabulary
        )
        return {
            "teacher": self.teacher.identity,
            "signals": [sorted(request.hidden_states), sorted(request.qkv)],
            "dtypes": [args.teacher_dtype, args.teacher_cache_dtype],
            "read": [reader, args.eval_soft_loss],
            **self._data_key(plan.data.train),
        }

    def _ask_teacher(self, work: Path) -> Path:
        folder = work / CACHE
        try:
            return self.keep_answers(folder, is_own=True)
        except NotKeptError as error:
            if isinstance(error, DiskFullError):  # it goes on where it stopped
                raise
            logger.warning("teacher: runs beside the student, for %s", error)
            remove(folder)
            folder.mkdir()
            write_text(folder / LIVE_MARK, f"{error}\n")
            return folder

    def keep_answers(self, folder: Path, is_own: bool = False) -> Path:
        """Write what is missing of the teacher's answers into a folder.

        Args:
            folder: of the answers.
            is_own: whether another cache that lies there may be deleted.

        Raises:
            NotKeptError: they cannot be kept.
        """
        live = self.teacher.live(self.plan.student_args.teacher_dtype)
        live.to(self.state.device)
        args = self.plan.student_args
        keep_answers(folder, args, live, self.rows.asked, overwrite=is_own, further=self.rows.folds)
        return folder

    # ---- The graphs ----

    def _export(self, runtime: Runtime) -> Step:
        within, wanted = Path(runtime.file).parent.name, self.recipe.export.model_dump(exclude={"formats"})

        def key() -> dict[str, Any]:
            int8 = wanted if self.recipe.export.has_int8 and runtime is ONNX else None
            student = [self.student.digest, self.student.content]
            return {"student": student, "int8": int8, **self._data_key(tried_on(self.plan))}

        def make(work: Path) -> Path:
            if self.state.is_main_process:
                remove(work / within)
                export_of_run(self.plan, self._load(self.student.result), runtime, work / within)
            return work / within

        return self._step(within, f"student/{within}", key, make, lambda: [self.student], f"export to {runtime.title}")

    # ---- The evaluation ----

    def _predictions_key(self) -> dict[str, Any]:
        steps = [self.student, *self.exports, *([self.baseline] if self.baseline is not None else [])]
        made = {step.name: [step.digest, step.content] for step in steps}
        return {**made, "teacher": self.teacher.identity, **self._data_key(self.plan.data.test)}

    def _predict(self, work: Path) -> Path:
        folder = work / FINISHED
        if self.state.is_main_process:
            folder.mkdir(exist_ok=True)
            write_rows(folder / ROWS, student_view(self.plan.data.test), self.plan.task.rows.inputs)
            self._measured.predict().save(folder / ANSWERS)
        return folder

    def _evaluation_key(self) -> dict[str, Any]:
        # What a report holds is an input too: figures that an older version wrote are measured again.
        code = [metric.identity for metric in self.plan.metrics]
        report, options = sorted(ModelReport.__annotations__), self.recipe.evaluation.model_dump()
        return {"predictions": self.predictions.content, "evaluation": options, "report": [*report, *code]}

    def _evaluate(self, work: Path) -> Path:
        if self.state.is_main_process:
            predictions = Predictions.load(self.predictions.result / ANSWERS)
            results = self._measured.results(predictions)
            write_json(work / FINISHED, results | provenance(self.plan, self.all[: self.all.index(self.evaluation)]))
        return work / FINISHED

    @cached_property
    def _measured(self) -> Measured:
        """What is measured, on the device of the main process."""
        folders = {step.name: step.result for step in (self.student, self.baseline) if step is not None}
        return Measured(self.plan, self.rows, self.teacher, folders, has_graphs=bool(self.exports))

    # ---- The model card and the report ----

    def _results_key(self) -> dict[str, Any]:
        return {"results": self.evaluation.content}

    def _write_card(self, work: Path) -> Path:
        if self.state.is_main_process:
            write_model_card(work / CARD, self.plan, self._results, Export.read(self.student.result / "onnx"))
        return work / CARD

    def _write_report(self, work: Path) -> Path:
        if self.state.is_main_process:
            write_report([self.folder], work / REPORT)
        return work / REPORT

    # ---- The Hub ----

    def _push_key(self) -> dict[str, Any]:
        made = {step.name: step.content for step in (self.student, *self.exports, self.evaluation)}
        return {**made, "push": self.recipe.push_to_hub.model_dump()}

    def _push(self, work: Path) -> Path:
        if self.state.is_main_process:
            write_json(work / PUSHED, push_of_run(self.recipe.push_to_hub, self.folder))
        return work / PUSHED

    # ---- What the steps share ----

    def _step(
        self, name: str, output: str, key: Any, make: Any, needs: Any = tuple, title: str | None = None, **options: Any
    ) -> Step:
        return Step(self.folder, name, title or name, output, key, make, needs, **options)

    def _data_key(self, rows: Dataset) -> dict[str, Any]:
        data = self.plan.data
        for part in (rows, data.validation):
            if id(part) not in self._fingerprints:
                self._fingerprints[id(part)] = fingerprint(part)
        hashes = [self._fingerprints[id(part)] for part in (rows, data.validation)]
        return {"data": [*hashes, data.label_names], "max_length": self.plan.lengths, "seed": self.recipe.seed}

    def _load(self, folder: Path) -> Any:
        return load_labelled(folder, self.plan.task, self.plan.data.label_names, self.recipe.trust_remote_code)


def _damage(answers: Path) -> list[str]:
    """Return what is damaged of kept answers; nothing of a note in their place."""
    return [] if (answers / LIVE_MARK).is_file() else damaged_shards(answers)


def _none_edited(card: Path) -> list[str]:
    """Return no damage: a card that was edited stays until the figures change."""
    return []
