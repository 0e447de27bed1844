"""The stages of a run: fine-tune the teacher, build the student, distil, train the baseline, evaluate."""

import json
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedModel

from distilnlp.checkpoints import last_complete_checkpoint
from distilnlp.data import fingerprint, labelled_rows, tokenise
from distilnlp.evaluation import EVALUATION_TASKS, SpeedPlan, compute_classification_metrics, evaluate_models
from distilnlp.recipe import Recipe, build_arguments
from distilnlp.runs.environment import describe_environment
from distilnlp.runs.fingerprints import model_fingerprint
from distilnlp.runs.folder import alone_in, check_folder, claim_folder, clear_folder
from distilnlp.runs.model_card import write_model_card
from distilnlp.runs.plan import Plan, describe, make_plan, student_options
from distilnlp.runs.stages import Stage, write_json
from distilnlp.students import build_student
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
    check_folder(recipe, overwrite)
    plan = make_plan(recipe)
    state = PartialState()
    if state.is_main_process:
        logger.info("plan\n%s", describe(plan))
    state.wait_for_everyone()
    with alone_in(Path(recipe.output)) if state.is_main_process else nullcontext():
        if state.is_main_process:
            if overwrite:
                clear_folder(recipe)
            claim_folder(recipe)
        state.wait_for_everyone()
        return Pipeline(plan).run()


class Pipeline:
    """Carries out a plan, stage by stage. Under a launcher every process runs the same stages."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.recipe = plan.recipe
        self.folder = Path(plan.recipe.output)
        self.state = PartialState()
        self.train = self._tokenise(plan.data.train, "Tokenising the training data")
        self.labelled = labelled_rows(self.train)
        self.test = self._tokenise(plan.data.test, "Tokenising the test data")
        validation = plan.data.validation
        self.validation = None if validation is None else self._tokenise(validation, "Tokenising the validation data")

    def run(self) -> dict[str, Any]:
        """Run every stage that is not up to date, and return the results."""
        teacher_folder, teacher_id = self._finetune_teacher()
        initial = self._build_student(teacher_folder, teacher_id)
        student = self._train_student("student", initial, teacher_folder)
        baseline = self._train_student("baseline", initial, None) if self.recipe.baseline else None
        return self._evaluate(teacher_folder, student, baseline)

    # ---- The stages ----

    def _finetune_teacher(self) -> tuple[Path | str, str]:
        """Return where the finished teacher is, and what identifies it."""
        name = self.recipe.teacher.model
        model_id = model_fingerprint(name, self.plan.teacher)
        if not self.recipe.teacher.finetune:
            return name, model_id
        values = self.plan.trainings["teacher"]
        inputs = {"encoder": model_id, "arguments": values, **self._data_inputs(self.plan.data.labelled)}
        stage = self._stage("teacher", "teacher", inputs)

        def make(work: Path) -> Path:
            return self._train(work, self.plan.teacher, None, values, self.labelled)

        return stage.run(make), stage.digest

    def _build_student(self, teacher: Path | str, teacher_id: str) -> Stage:
        inputs = {"teacher": teacher_id, "student": self.recipe.student.model_dump()}
        stage = self._stage("student_init", "work/initial_student", inputs)

        def make(work: Path) -> Path:
            model = self._load(teacher, dtype=torch.float32)  # it is to be trained
            self._save(build_student(model, **student_options(self.recipe, model)), work / FINISHED)
            return work / FINISHED

        stage.run(make)
        return stage

    def _train_student(self, name: str, initial: Stage, teacher: Path | str | None) -> Stage:
        """Distil the student, or without a teacher train the baseline: the same student on the labels alone."""
        rows = self.plan.data.labelled if teacher is None else self.plan.data.train
        values = self.plan.trainings[name]
        inputs = {"initial_student": initial.digest, "arguments": values, **self._data_inputs(rows)}
        stage = self._stage(name, name, inputs)

        def make(work: Path) -> Path:
            model = self._load(initial.result)
            if teacher is None:
                return self._train(work, model, None, values, self.labelled)
            return self._train(work, model, self._load(teacher), values, self.train)

        stage.run(make)
        return stage

    def _evaluate(self, teacher: Path | str, student: Stage, baseline: Stage | None) -> dict[str, Any]:
        folders: dict[str, Path | str] = {"teacher": teacher, "student": student.result}
        digests = {"student": student.digest}
        if baseline is not None:
            folders["baseline"], digests["baseline"] = baseline.result, baseline.digest
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
        data = [fingerprint(rows), fingerprint(self.plan.data.validation), self.plan.data.label_names]
        return {"data": data, "max_length": self.plan.max_length, "seed": self.recipe.seed}

    def _tokenise(self, dataset: Dataset, desc: str) -> Dataset:
        return tokenise(dataset, self.plan.tokenizer, self.plan.max_length, desc)

    def _load(self, folder: Path | str, **options: Any) -> PreTrainedModel:
        labels = self.plan.teacher.config
        return self.plan.task.auto_class.from_pretrained(
            str(folder), id2label=labels.id2label, label2id=labels.label2id, **options
        )

    def _save(self, model: PreTrainedModel, folder: Path) -> None:
        if self.state.is_main_process:
            model.save_pretrained(folder)

    def _train(
        self,
        work: Path,
        model: PreTrainedModel,
        teacher: PreTrainedModel | None,
        values: dict[str, Any],
        rows: Dataset,
    ) -> Path:
        """Train, or go on from the last checkpoint, and save the finished model with its tokenizer."""
        trainer = DistillationTrainer(
            model=model,
            teacher_model=teacher,
            args=build_arguments(values, self.recipe.seed, work),
            train_dataset=rows,
            eval_dataset=self.validation,
            processing_class=self.plan.tokenizer,
            compute_metrics=compute_classification_metrics,
        )
        trainer.train(resume_from_checkpoint=last_complete_checkpoint(work))
        trainer.save_model(str(work / FINISHED))
        if self.state.is_main_process:
            (work / FINISHED / "training_args.bin").unlink(
                missing_ok=True
            )  # a pickle has no place in a deployed folder
        return work / FINISHED

    def _measure(self, folders: dict[str, Path | str]) -> dict[str, Any]:
        models = {name: self._load(folder).to(self.state.device) for name, folder in folders.items()}
        plan = SpeedPlan() if self.recipe.evaluation.speed else None
        reports = evaluate_models(
            models,
            list(self.test),
            self.plan.task.collator(self.plan.tokenizer),
            task=EVALUATION_TASKS[self.plan.task.name],
            reference="teacher",
            resamples=self.recipe.evaluation.bootstrap_resamples,
            speed_plan=plan,
        )
        data = self.plan.data
        rows = {"train": len(data.train), "labelled": len(data.labelled), "test": len(data.test)}
        return {
            "models": reports,
            "rows": rows,
            "environment": describe_environment(),
            "processes": self.state.num_processes,
        }
