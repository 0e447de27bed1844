"""How long a run is likely to take: told from a few steps of a student of random weights, on this machine."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from distilnlp.evaluation.latency import DEFAULT_PLAN
from distilnlp.models.running import in_eval_mode, seconds_of
from distilnlp.runs.describe import wrapped
from distilnlp.runs.graph import Step
from distilnlp.runs.plan import IN_INT8, Plan
from distilnlp.runs.rows import EncodedRows
from distilnlp.runs.steps import Steps
from distilnlp.screen import as_time, current
from distilnlp.signals import named_inputs
from distilnlp.students import estimate_cost

logger = logging.getLogger(__name__)

ROWS = 16  # in a measured batch
BUDGET = 0.8  # seconds, after a first pass that warms up; of a large model at least one step
BRIEF = 60.0  # seconds: of a run that is shorter the parts are not told


@dataclass(frozen=True)
class Pace:
    """How fast a student learns on this machine.

    Attributes:
        row: seconds of a forward and backward pass, for each row.
        answer: seconds of a forward pass alone, for each row.
        update: seconds that a step takes besides, whatever its rows: the optimizer, the gradients of the embeddings.
    """

    row: float
    answer: float
    update: float

    def scaled(self, work: float, parameters: float) -> "Pace":
        """Return the pace of a model that has so many times the work and the parameters."""
        return Pace(self.row * work, self.answer * work, self.update * parameters)


def say_how_long(steps: Steps) -> None:
    """Tell the screen, and the person, how long what is left of a run is likely to take; nothing if that fails."""
    left = [step for step in [*steps.trainings, steps.answers] if not step.is_up_to_date]  # asked by all processes
    if steps.student not in left:
        return  # what is left is brief
    try:
        seconds = expected_seconds(steps, left)
    except Exception as error:  # an architecture of its own kind: a guess must not end a run
        logger.debug("how long it takes is not told: %s", error)
        return
    if not steps.state.is_main_process:
        return
    current().expect(seconds)
    whole = sum(seconds.values())
    parts = ", ".join(f"{title} {as_time(each)}" for title, each in seconds.items() if each > whole / 50)
    at_most = "at the most " if steps.plan.stopped else ""
    logger.info("%s", wrapped(f"time      about {at_most}{as_time(whole)}" + (f": {parts}" if whole > BRIEF else "")))


def expected_seconds(steps: Steps, left: Sequence[Step]) -> dict[str, float]:
    """Return how many seconds each of the steps that are left is likely to take, by title, in their order.

    Where a training ends when its score stops rising, it is the most that it can take.

    Args:
        steps: of the run.
        left: those that are not up to date, the student among them.
    """
    plan, rows = steps.plan, steps.rows
    own = measured_pace(plan.student, rows.student, plan.student_args)
    paces = [own.scaled(*_times(plan, member.model)) for member in plan.members]
    asking = sum(pace.answer for pace in paces)  # of the teacher, for a row
    is_live = plan.keeping.folder is None
    seconds: dict[str, float] = {}
    for step in filter(left.__contains__, steps.all):
        if step is steps.answers:
            if not is_live:
                seconds[step.title] = len(plan.data.train) * asking
        elif step in steps.trained_teachers:
            pace = paces[steps.trained_teachers.index(step) if len(paces) > 1 else 0]
            seconds[step.title] = _training(plan.trainings["teacher"], len(plan.data.labelled), pace)
        elif step is steps.baseline:
            seconds[step.title] = _training(plan.trainings["baseline"], len(plan.data.labelled), own)
        else:
            beside = replace(own, row=own.row + asking * is_live)
            parts = (plan.trainings[name] for name in ("student", IN_INT8) if name in plan.trainings)
            seconds[step.title] = sum(_training(values, len(plan.data.train), beside) for values in parts)
    answers = [asking, *[own.answer] * (1 if steps.baseline is None else 2)]  # of each measured model, for a row
    is_timed, limit = plan.recipe.evaluation.speed, DEFAULT_PLAN.max_seconds
    timed = sum(min(limit, DEFAULT_PLAN.rows * each) for each in answers) if is_timed else 0.0
    predicting = len(plan.data.test) * sum(answers)
    return {**seconds, steps.predictions.title: predicting, steps.evaluation.title: timed}


def measured_pace(shape: PreTrainedModel, rows: EncodedRows, args: Any) -> Pace:
    """Measure a few training steps of a model of this shape on the first rows, with weights drawn at random.

    Args:
        shape: of the model; it stays as it is.
        rows: as it reads them.
        args: of its training: the precision.
    """
    device = PartialState().device
    with torch.random.fork_rng():  # the draws of the run stay as they are
        model = type(shape)(shape.config).to(device).train()
        optimizer = torch.optim.AdamW(model.parameters())

        def first(count: int) -> dict[str, Tensor]:
            batch, known = rows.collate([rows.train[index] for index in range(count)]), named_inputs(model)
            return {name: own.to(device) for name, own in batch.items() if name in known and isinstance(own, Tensor)}

        few = first(1)
        warming = seconds_of(lambda: _pass(model, few, args.bf16), device)
        count = min(ROWS, len(rows.train), max(2, int(BUDGET / warming)))  # of a large model few rows tell enough
        many = first(count)
        measured: list[tuple[float, float, float, float]] = []
        start = time.monotonic()
        while not measured or time.monotonic() - start < BUDGET:
            of_one = seconds_of(lambda: _pass(model, few, args.bf16), device)
            of_many = seconds_of(lambda: _pass(model, many, args.bf16), device)
            update = seconds_of(optimizer.step, device)
            model.zero_grad()
            with in_eval_mode(model):
                measured.append((of_one, of_many, update, seconds_of(lambda: _answer(model, many, args.bf16), device)))
    one, whole, update, answers = map(min, zip(*measured, strict=True))
    row = max(whole - one, 0.0) / (count - 1) if count > 1 else whole
    return Pace(row, answers / count, update + max(one - row, 0.0))


@torch.no_grad()
def _answer(model: PreTrainedModel, inputs: Mapping[str, Tensor], bf16: bool) -> None:
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        model(**inputs)


def _pass(model: PreTrainedModel, inputs: Mapping[str, Tensor], bf16: bool) -> None:
    with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
        outputs = model(**inputs)
    answers = [each.float().sum() for each in tree_leaves(dict(outputs)) if isinstance(each, Tensor)]
    torch.stack(answers).sum().backward()


def _times(plan: Plan, teacher: PreTrainedModel) -> tuple[float, float]:
    """Return how many times the student's work and its parameters a teacher has."""
    is_first = teacher is plan.members[0].model
    cost = plan.cost if is_first else estimate_cost(plan.student, teacher, length=plan.max_length)
    parameters = teacher.num_parameters() / plan.student.num_parameters()
    return cost.speed_up or parameters, parameters


def _training(values: Mapping[str, Any], rows: int, pace: Pace) -> float:
    """Return the seconds of a training with these arguments on so many rows."""
    batch = values["per_device_train_batch_size"] * values.get("gradient_accumulation_steps", 1)
    steps = values.get("max_steps", -1)
    if steps <= 0:
        steps = math.ceil(values["num_train_epochs"] * math.ceil(rows / (batch * PartialState().num_processes)))
    return steps * (min(batch, rows) * pace.row + pace.update)
