"""The arguments of a distillation: everything of `TrainingArguments`, and the objective."""

import json
from dataclasses import dataclass, field
from types import UnionType
from typing import Any

from transformers import TrainingArguments

from distilnlp.answers import DTYPES
from distilnlp.errors import DistillationError, shown
from distilnlp.objective import LOSSES, LossConfig, Objective, parse_losses, parse_schedules
from distilnlp.signals import SignalProfile
from distilnlp.tasks import Task
from distilnlp.training.argument_limits import TEACHER_DTYPES, check_limits, checked_argument
from distilnlp.training.launching import check_process_count, use_cpu_without_accelerator


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass
class DistillationTrainingArguments(TrainingArguments):
    """Arguments of `DistillationTrainer`: those of `TrainingArguments`, which keep their meaning, and these.

    The objective is `hard_loss_weight` · hard loss + `soft_loss_weight` · T² · KL(teacher ‖ student at temperature T)
    + the `losses`, each with its own weight.

    Raises:
        DistillationError: a temperature or weight that is not finite or not positive, all weights zero, an unknown
            loss, or an option of the Trainer that this objective cannot honour.
    """

    temperature: float = _option(
        2.0, "Temperature that softens the logits of teacher and student in the soft loss. T > 0."
    )
    soft_loss_weight: float = _option(1.0, "Weight of the soft loss, T² · KL(teacher ‖ student). 0 turns it off.")
    hard_loss_weight: float = _option(
        0.5, "Weight of the hard loss against the labels. 0 turns it off; rows without label have none."
    )
    losses: list[dict[str, Any]] | str | None = _option(  # noqa: RUF009  (it makes a field)
        None,
        "Further losses, a list (or JSON list) of {name, weight, and what the loss takes}: "
        + ", ".join(LOSSES)
        + ". What each takes: see docs/losses.md.",
    )
    schedules: dict[str, Any] | str | None = _option(  # noqa: RUF009
        None,
        "How weights and the temperature change in the course of training, a mapping (or JSON) from temperature, "
        "hard_loss, soft_loss or the name of a loss to {name: constant|linear|cosine, end, warmup, start}.",
    )
    balance_losses: bool = _option(
        False,
        "Divide every weight by the running magnitude of its loss, so that weights compare. The effective weights are "
        "logged.",
    )
    teacher_dtype: str = _option(
        "auto",
        "Dtype the teacher runs in: " + ", ".join(TEACHER_DTYPES) + ". auto = bfloat16 where the hardware "
        "is fast at it, else the teacher's own.",
    )
    teacher_cache: str = _option(
        "auto",
        "Keep the teacher's answers on disk, so that it is asked once: auto (where rows are read more than "
        "once, in output_dir/teacher_cache), off, or a folder, which several trainings may share.",
    )
    teacher_cache_dtype: str = _option("float16", "Dtype of the answers on disk: " + ", ".join(DTYPES) + ".")
    teacher_cache_top_k: int = _option(
        64, "How many of a vocabulary's logits (masked language modelling) are kept on disk."
    )
    eval_soft_loss: bool = _option(
        False, "Run the teacher in evaluation too and report eval_soft_loss; eval_loss is the hard loss."
    )
    logging_nan_inf_filter: bool = _option(
        False,
        "Off: a NaN or infinite loss stops the run with the component's name. On, the Trainer hides it "
        "from the logs and waits for the device at every step.",
    )

    def __post_init__(self) -> None:
        try:
            check_limits(self)
            self.teacher_cache = checked_argument(type(self), "teacher_cache", self.teacher_cache)  # False is off
        except ValueError as error:
            raise DistillationError(f"{error} Change or remove it.") from None
        use_cpu_without_accelerator()
        super().__post_init__()
        check_process_count(self.world_size)
        self._parse("losses", list | tuple | None, 'a list, such as [{"name": "hidden_state_mse"}]')
        a_mapping = 'a mapping, such as {"temperature": {"name": "linear", "end": 1.0}}'
        self._parse("schedules", dict | None, a_mapping)
        further = {loss.name: loss.weight for loss in self.parsed_losses}
        parse_schedules(self.schedules or {}, ["hard_loss", "soft_loss", *further])  # type: ignore[arg-type]
        if not any([self.soft_loss_weight, self.hard_loss_weight, *further.values()]):
            raise DistillationError(
                "every loss weight is zero, so there is nothing to train on. Give soft_loss_weight, hard_loss_weight "
                "or an entry of losses a positive weight."
            )
        for name, (supported, reason) in UNSUPPORTED_OPTIONS.items():
            value = getattr(self, name)
            if value != supported:
                raise DistillationError(
                    f"{name} must stay {supported!r} here, but it is {value!r}: {reason} Remove {name}."
                )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the token out of the pickle that the Trainer writes beside every checkpoint."""
        return {**self.__dict__, "hub_token": None}

    def build_objective(self, task: Task, student: SignalProfile, teacher: SignalProfile | None) -> Objective:
        """Build the objective that these arguments describe; see `Objective`."""
        return Objective(
            task,
            temperature=self.temperature,
            hard_loss_weight=self.hard_loss_weight,
            soft_loss_weight=self.soft_loss_weight,
            losses=self.parsed_losses,
            student=student,
            teacher=teacher,
            schedules=self.schedules,  # type: ignore[arg-type]  # a string was parsed before
        )

    @property
    def parsed_losses(self) -> list[LossConfig]:
        """The entries of `losses`, validated."""
        return parse_losses(self.losses or [])  # type: ignore[arg-type]  # a string was parsed before

    def _parse(self, name: str, kinds: type | UnionType, expected: str) -> None:
        """Read an option that may be JSON, and check its type."""
        value = getattr(self, name)
        if isinstance(value, str):
            try:
                setattr(self, name, value := json.loads(value))
            except json.JSONDecodeError as error:
                raise DistillationError(
                    f"{name} must be given as such or as JSON, but it is {shown(value)}: {error}."
                ) from None
        if not isinstance(value, kinds):
            raise DistillationError(f"{name} must be {expected}, but it is {shown(value)}.")


UNSUPPORTED_OPTIONS: dict[str, tuple[float, str]] = {
    "label_smoothing_factor": (
        0.0,
        "the hard loss does not smooth labels, because the teacher's soft targets already do that job.",
    ),
    "average_tokens_across_devices": (True, "each component is averaged over the items of all processes."),
    "use_liger_kernel": (False, "its fused loss gives no logits, and the soft loss needs them."),
}
