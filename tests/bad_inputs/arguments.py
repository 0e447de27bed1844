"""Arguments of the Trainer: ranges, choices, and what cannot go together."""

from typing import Any

from tests.bad_inputs.case import Case, each, refused


def training(message: str, *pairs: tuple[str, Any]) -> list[Case]:
    return each(message, [(f"training.{name}", value) for name, value in pairs])


def both(name: str, message: str, **values: Any) -> Case:
    return refused(f"training: {name}", message, {f"training.{key}": value for key, value in values.items()})


CASES: list[Case] = [
    *training("{key}", *(("learning_rate", value) for value in (0, -1e-4, ".nan", ".inf", "fast", "[1]", "''"))),
    *training("{key}", *(("num_train_epochs", value) for value in (0, -1, ".nan", ".inf", "many"))),
    *training("{key}", *(("per_device_train_batch_size", value) for value in (0, -4, 2.5, "all"))),
    *training("{key}", *(("per_device_eval_batch_size", value) for value in (0, -4, "all"))),
    *training("{key}", *(("gradient_accumulation_steps", value) for value in (0, -1, 1.5))),
    *training("{key}", ("max_steps", "many"), ("max_steps", 2.5), ("max_steps", -7), ("max_steps", 0)),
    *training("{key}", ("warmup_steps", -1), ("warmup_steps", ".nan"), ("warmup_steps", "slow")),
    *training("{key}", ("weight_decay", -0.1), ("weight_decay", ".nan"), ("weight_decay", "some")),
    *training("{key}", ("max_grad_norm", -1), ("max_grad_norm", ".nan"), ("max_grad_norm", "one")),
    *training("beta|{key}", ("adam_beta1", 1.5), ("adam_beta1", -0.1), ("adam_beta2", 1), ("adam_beta2", ".nan")),
    *training("epsilon", ("adam_epsilon", -1), ("adam_epsilon", ".nan")),
    *training(
        "{key}|not a valid", ("lr_scheduler_type", "lineer"), ("lr_scheduler_type", 3), ("lr_scheduler_type", "''")
    ),
    *training("{key}|not a valid", ("optim", "adamm"), ("optim", 3), ("optim", "[adamw_torch]")),
    *training("optim|bitsandbytes|not installed", ("optim", "adamw_bnb_8bit"), ("optim", "lomo")),
    *training("{key}", *(("logging_steps", value) for value in (0, -1, "often", ".nan"))),
    *training("{key}", ("save_steps", 0), ("save_steps", -1), ("save_steps", "often"), ("save_steps", ".nan")),
    *training(
        "{key}|not a valid",
        ("save_strategy", "sometimes"),
        ("logging_strategy", "sometimes"),
        ("eval_strategy", "sometimes"),
    ),
    *training("{key}.*validation", ("eval_strategy", "epoch"), ("eval_strategy", "steps"), ("eval_on_start", True)),
    *training("{key}", ("save_total_limit", -1), ("save_total_limit", "few"), ("save_total_limit", 1.5)),
    *training("{key}", ("metric_for_best_model", "f1"), ("metric_for_best_model", 7)),
    *training("load_best|strategy", ("load_best_model_at_end", True)),
    *training("num_workers", ("dataloader_num_workers", -1), ("dataloader_num_workers", "two")),
    *training("prefetch", ("dataloader_prefetch_factor", 2)),
    *training("{key}", ("train_sampling_strategy", "longest"), ("train_sampling_strategy", 3)),
    *training("{key} must stay", ("label_smoothing_factor", 0.1), ("use_liger_kernel", True)),
    *training("{key} must stay", ("average_tokens_across_devices", False)),
    *training("{key}", ("neftune_noise_alpha", "loud"), ("gradient_checkpointing", "maybe"), ("disable_tqdm", 3)),
    *training("{key}|not supported", ("report_to", "wandbb"), ("report_to", 3)),
    *training("deepspeed", ("deepspeed", "no-such-file.json")),
    *training("fsdp", ("fsdp", "full_shards")),
    *training("tf32|ampere|gpu", ("tf32", True)),
    *training(
        "accelerator_?config", ("accelerator_?config", "no-such-file.json"), ("accelerator_?config", "{spli: 1}")
    ),
    *training("lr_scheduler_kwargs|unexpected", ("lr_scheduler_kwargs", "{nonsense: 1}"), ("lr_scheduler_kwargs", 3)),
    *training("optim_args", ("optim_args", "nonsense"), ("optim_args", 3)),
    *training("{key}", ("parallelism_config", "{a: 1}")),
    *training("temperature", *(("temperature", value) for value in (0, -2, ".nan", ".inf", "hot", "[2]", "null"))),
    *training("{key}", *(("soft_loss_weight", value) for value in (-1, ".nan", ".inf", "half"))),
    *training("{key}", *(("hard_loss_weight", value) for value in (-1, ".nan", ".inf", "half"))),
    *training(
        "{key}.*(Input should be|auto)",
        ("teacher_dtype", "float8"),
        ("teacher_dtype", "''"),
        ("teacher_cache_dtype", "int8"),
    ),
    *training("{key}", ("teacher_cache_top_k", 0), ("teacher_cache_top_k", -3), ("teacher_cache_top_k", "ten")),
    *training("cache", ("teacher_cache", "''"), ("teacher_cache", 3), ("teacher_cache", "[a]")),
    *training("{key}", ("eval_soft_loss", "maybe"), ("balance_losses", "maybe"), ("logging_nan_inf_filter", "maybe")),
    *training("DynamoBackend|{key}", ("torch_compile_backend", "no_such_backend")),
    both("no loss has a weight", "every loss weight is zero", soft_loss_weight=0, hard_loss_weight=0),
    both("fp16 and bf16", "fp16|bf16", fp16=True, bf16=True),
    both("save and evaluate at other times", "strateg", save_strategy="epoch", eval_strategy="steps"),
    both("save at steps of zero", "logging_steps|do not fit", eval_strategy="steps", logging_steps=0),
    refused("an argument of the Trainer as its default is no argument", "nonsense", {"training.nonsense": 1}),
    refused("fine-tuning: epochs", "'epochs' is not an argument", {"teacher.finetune": "{epochs: 3}"}),
    refused(
        "fine-tuning: a learning rate of zero",
        "learning_rate",
        {"teacher.model": "@bare", "teacher.finetune": "{learning_rate: 0}"},
    ),
    refused(
        "fine-tuning: evaluation without validation",
        "validation",
        {"teacher.model": "@bare", "teacher.finetune": "{eval_strategy: epoch}"},
    ),
    refused(
        "baseline: a negative batch", "per_device_train_batch_size", {"baseline": "{per_device_train_batch_size: -1}"}
    ),
    refused("baseline: a temperature of zero", "temperature", {"baseline": "{temperature: 0}"}),
]
