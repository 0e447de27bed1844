"""What a run measures on its test rows: its models, how each reads the rows, what they answer and are worth."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from accelerate import PartialState

from distilnlp.evaluation import INT8_STUDENT, Predictions, SpeedPlan, verdict
from distilnlp.runs.exporting import load_graph
from distilnlp.runs.lengths import readable_length
from distilnlp.runs.measurement import cut_as_students, environment, measure, predict
from distilnlp.runs.models import load_labelled
from distilnlp.runs.plan import Plan
from distilnlp.runs.reading import Reading
from distilnlp.runs.rows import RunRows
from distilnlp.runs.teacher import RunTeacher
from distilnlp.serving import INT8
from distilnlp.signals import student_view, teacher_view

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """The models of a run, finished, on the device of the main process.

    Attributes:
        plan: of the run.
        rows: what the models read.
        teacher: it is measured where it has models and the test rows hold what it reads.
        folders: of the student, and of the baseline if there is one, by these roles.
        has_graphs: whether the student's graph in int8 is measured, where there is one.
    """

    plan: Plan
    rows: RunRows
    teacher: RunTeacher
    folders: Mapping[str, Path]
    has_graphs: bool

    @cached_property
    def models(self) -> dict[str, Any]:
        """What is measured, by its role."""
        plan, device = self.plan, PartialState().device
        models: dict[str, Any] = {}
        if self.teacher.models and self.rows.teacher.test is not None:
            models["teacher"] = self.teacher.judged()
        else:
            logger.info("the test rows lack what the teacher reads, or its answers, so it is not measured")
        for role, folder in self.folders.items():
            models[role] = load_labelled(folder, plan.task, plan.data.label_names, plan.recipe.trust_remote_code)
            if role == "student" and self.has_graphs and (folder / INT8).is_file():
                models[INT8_STUDENT] = load_graph(folder / INT8, models[role], plan.tokenizer)
        return {role: model.to(device) for role, model in models.items()}

    @cached_property
    def readings(self) -> dict[str, Reading]:
        """How each model reads the test rows."""
        plan, student = self.plan, self.rows.student
        assert student.test is not None
        own = plan.reader.read(student_view(plan.data.test), student.test)
        readings = {role: own for role in self.models if role != "teacher"}
        teacher = self.rows.teacher if "teacher" in self.models else None
        if teacher is None or teacher.test is None:
            return readings
        rows, reader = teacher_view(plan.data.test), replace(plan.reader_of(plan.members[0]), max_length=self._length)
        if reader.max_length == teacher.max_length:
            whole = reader.read(rows, teacher.test)._replace(collate=teacher.collate)
        else:
            whole = reader.read(rows)
            whole = whole._replace(rows=plan.task.rows.with_common_labels(whole.rows, own.rows)[0])
        cut = cut_as_students(reader, plan.tokenizer, rows, whole, own) if self._reads_as_student else {}
        return {"teacher": whole, **cut, **readings}

    @property
    def _length(self) -> int:
        """How many tokens of a text the teacher reads when it need not read what the student does."""
        plan, recipe = self.plan, self.plan.recipe
        first = plan.members[0]
        is_settled = recipe.teacher.max_length is not None or bool(recipe.teacher.finetune)
        is_of_other_words = plan.task.rows.are_words and first.tokenizer is not plan.tokenizer
        if is_settled or is_of_other_words or not self._reads_as_student:
            return first.max_length
        # A member may share the student's tokenizer, which tells how much the student reads: its own one is asked.
        own = zip(plan.tokenizers, plan.members, strict=True)
        return min(readable_length(recipe.data.max_length, tokenizer, member.model) for tokenizer, member in own)

    @property
    def _reads_as_student(self) -> bool:
        """Whether the teacher can be given the student's texts at another length, and be scored on the same items."""
        reads_other_text = self.plan.recipe.teacher.text_columns is not None
        is_of_several = any(member.prefix for member in self.plan.members)  # each with an encoding of its own
        return not (reads_other_text or is_of_several or self.plan.task.draws_its_items)

    def predict(self) -> Predictions:
        """Return what the models answer.

        A finished teacher settles on the validation rows first what a trained model does when its training ends; not
        where it reads other pieces than its student, whose windows then have no texts to be scored by.
        """
        plan = self.plan
        is_finished = "teacher" in self.models and not plan.recipe.teacher.finetune and not plan.has_two_views
        if is_finished and (validation := self.rows.teacher.validation) is not None:
            plan.task.evaluation.settle(self.models["teacher"], list(validation), self.rows.teacher.collate)
        return predict(self.models, self.readings, plan.task)

    def results(self, predictions: Predictions) -> dict[str, Any]:
        """Measure the models, and return the content of `results.json`."""
        data, options = self.plan.data, self.plan.recipe.evaluation
        reports = measure(
            self.models,
            self.readings,
            self.plan.task,
            predictions=predictions,
            resamples=options.bootstrap_resamples,
            speed_plan=SpeedPlan() if options.speed else None,
            metrics=self.plan.metrics,
        )
        return {
            "task": self.plan.task.name,
            "label_names": list(data.label_names),
            "models": reports,
            "verdict": verdict(reports),
            "rows": {
                "train": len(data.train),
                "labelled": len(data.labelled),
                "validation": 0 if data.validation is None else len(data.validation),
                "test": len(data.test),
            },
            "environment": environment(),
            "processes": PartialState().num_processes,
        }
