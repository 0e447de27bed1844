"""What the arguments of a training may be: the Trainer takes most as they are, and fails late or not at all."""

import re
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from transformers import TrainingArguments

from distilnlp.answers import DTYPES
from distilnlp.errors import did_you_mean, shown
from distilnlp.validation import NO_TRUTH, is_wrong_truth

MANY = 10**9  # steps, and what is counted in them: more are never reached


def _number(**bounds: Any) -> Any:
    """Return the constraint of a number, which is never infinite or NaN."""
    return Field(allow_inf_nan=False, **bounds)


def _count(low: int, high: int = MANY) -> Any:
    return Field(ge=low, le=high)


def _max_steps(value: int) -> int:
    if value != -1 and not 1 <= value <= MANY:
        raise ValueError(f"give 1 to {MANY:,} steps, or -1 for as many as num_train_epochs takes")
    return value


def _optimizer_settings(value: str | None) -> str | None:
    if value and not all(len(setting.split("=")) == 2 for setting in value.split(",")):
        raise ValueError("give settings of the optimizer as name=value, with a comma between two")
    return value


def _cache_place(value: object) -> object:
    if value is False:
        return "off"
    if value is True or str(value).lower() in ("on", "yes", "true", ""):
        raise ValueError("give auto, off, or a folder (./on for one of that name)")
    return value


STEPS = _number(gt=0, le=MANY)  # below 1: a share of the whole training
BATCH_SIZE = _count(1, 2**20)
WEIGHT = _number(ge=0, le=1e9)

# What numbers and texts are taken, by field; None is where the field's own type has it.
LIMITS: dict[str, Any] = {
    # the objective
    "temperature": _number(gt=0, le=1000),
    "soft_loss_weight": WEIGHT,
    "hard_loss_weight": WEIGHT,
    "teacher_cache": BeforeValidator(_cache_place),
    "teacher_cache_top_k": _count(1, 10**6),
    # length and batches
    "num_train_epochs": _number(gt=0, le=10**6),
    "max_steps": AfterValidator(_max_steps),
    "per_device_train_batch_size": BATCH_SIZE,
    "per_device_eval_batch_size": BATCH_SIZE,
    "gradient_accumulation_steps": _count(1, 10**6),
    # the optimizer
    "learning_rate": _number(ge=0),  # one that is too large stops the run with the name of the loss
    "warmup_steps": _number(ge=0, le=MANY),
    "weight_decay": _number(ge=0, le=1000),
    "optim_args": AfterValidator(_optimizer_settings),
    "adam_beta1": _number(ge=0, lt=1),
    "adam_beta2": _number(ge=0, lt=1),
    "adam_epsilon": _number(ge=0, le=1),
    "max_grad_norm": _number(ge=0, le=1e9),
    "label_smoothing_factor": _number(ge=0, lt=1),
    "neftune_noise_alpha": _number(ge=0, le=1000),
    # evaluation, checkpoints, log
    "logging_steps": STEPS,
    "save_steps": STEPS,
    "eval_steps": _number(ge=0, le=MANY),  # 0: as logging_steps
    "eval_delay": _number(ge=0, le=MANY),
    "eval_accumulation_steps": _count(1),
    "save_total_limit": _count(1),
    # the machine
    "seed": _count(0, 2**32 - 1),
    "data_seed": _count(0, 2**32 - 1),
    "local_rank": _count(-1),
    "torch_empty_cache_steps": _count(1),
    "dataloader_num_workers": _count(0, 1024),
    "dataloader_prefetch_factor": _count(1, 10**4),
    "ddp_bucket_cap_mb": _count(1, 10**6),
    "ddp_timeout": _count(1, 10**8),
}

TEACHER_DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
LOG_LEVEL = Literal["detail", "debug", "info", "warning", "error", "critical", "passive"]
# The choices that the types of the fields do not give. Those of an Enum or text are the Enum's.
CHOICES: dict[str, Any] = {
    "teacher_dtype": Literal[TEACHER_DTYPES],
    "teacher_cache_dtype": Literal[tuple(DTYPES)],
    "train_sampling_strategy": Literal["random", "sequential", "group_by_length"],
    "include_for_metrics": list[Literal["inputs", "loss"]],
    "include_num_input_tokens_seen": bool | Literal["all", "non_padding", "no"],
    "log_level": LOG_LEVEL,
    "log_level_replica": LOG_LEVEL,
    "torch_compile_mode": Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None,
    "dataloader_multiprocessing_context": Literal["fork", "spawn", "forkserver"] | None,
    "ddp_backend": Literal["nccl", "gloo", "mpi", "ccl", "xccl", "hccl", "cncl", "mccl"] | None,
}


def checked_argument(arguments: type[TrainingArguments], name: str, value: Any) -> Any:
    """Return the value of a field of an arguments class in the field's type.

    Raises:
        ValueError: another type, out of range, or none of the choices.
    """
    try:
        return known_arguments(arguments)[name].validate_python(value.value if isinstance(value, Enum) else value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        hint = did_you_mean(str(value), re.findall(r"'([^']+)'", reason))
        raise ValueError(f"{name} = {shown(value)}: {reason}.{hint}") from None


def check_limits(arguments: TrainingArguments) -> None:
    """Check what was given, as `checked_argument` does; texts are not taken for numbers here."""
    for name in (LIMITS | CHOICES).keys() & known_arguments(type(arguments)).keys():
        value = getattr(arguments, name)
        if isinstance(checked_argument(type(arguments), name, value), int | float) and isinstance(value, str):
            raise ValueError(f"{name} = {shown(value)}: a number is expected, not a text.")


def known_arguments(arguments: Any) -> dict[str, TypeAdapter]:
    """Return the fields of an arguments class that can be given, with what checks them."""
    return _adapters(arguments)


@cache
def _adapters(arguments: Any) -> dict[str, TypeAdapter]:
    # Not field.type: HfArgumentParser rewrites it in place.
    hints, fields = get_type_hints(arguments), arguments.__dataclass_fields__
    return {name: TypeAdapter(_limited(name, hints[name])) for name, field in fields.items() if field.init}


def _limited(name: str, hint: Any) -> Any:
    """Return a field's type with what is known of its values."""
    if name in CHOICES:
        return CHOICES[name]
    enums = [item for item in get_args(hint) if isinstance(item, type) and issubclass(item, Enum)]
    if enums and str in get_args(hint):
        return Literal[tuple(item.value for item in enums[0])]
    limited = Annotated[hint, LIMITS[name]] if name in LIMITS else hint

    def refuse_truth(value: object) -> object:
        if is_wrong_truth(value, hint):
            raise ValueError(NO_TRUTH)
        return value

    return Annotated[limited, BeforeValidator(refuse_truth)]
