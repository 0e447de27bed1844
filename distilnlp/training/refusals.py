"""What `DistillationTrainer` refuses, and why."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from datasets import Dataset, IterableDataset
from torch import nn
from transformers import Trainer

from distilnlp.errors import DistillationError, NonFiniteLossError, shown
from distilnlp.objective import Objective
from distilnlp.signals import TEACHER, TOKENS, SignalProfile
from distilnlp.tasks import Task, refuse_outside, require_ids, token_ids_of
from distilnlp.teachers import Teacher
from distilnlp.training.arguments import DistillationTrainingArguments
from distilnlp.training.checkpoints import absent_parts

SPECIAL_IDS = tuple(f"{name}_token_id" for name in ("pad", "cls", "sep", "mask", "unk", "bos", "eos"))


def check_constructor(model: object, teacher: object, args: object, kwargs: Mapping[str, object]) -> None:
    """Refuse what a trainer cannot be built from."""
    if not isinstance(args, DistillationTrainingArguments):
        raise DistillationError(
            f"args must be DistillationTrainingArguments, but they are {type(args).__name__}. Use the same arguments "
            "with DistillationTrainingArguments(...): it takes every argument of TrainingArguments."
        )
    if not isinstance(model, nn.Module | None):
        raise DistillationError(
            f"model, the student, must be a transformers model, but it is {type(model).__name__}: {model!r:.80}. Load "
            "it first, for example with AutoModelForSequenceClassification.from_pretrained."
        )
    members = teacher if isinstance(teacher, Sequence) else [teacher]
    if model is not None and any(model is member for member in members):
        raise DistillationError(
            "the student and the teacher are one and the same object. Make a student with build_student(teacher, ...)."
        )
    if kwargs.get("compute_loss_func") is not None:
        raise DistillationError(
            "compute_loss_func cannot be honoured: the objective is the loss. Remove it, or use the plain Trainer."
        )


def check_own_encoding(task: Task) -> None:
    """Refuse two tokenizers where the classes are the tokens of a vocabulary."""
    if task.classes_are_tokens:
        raise DistillationError(
            "masked language modelling compares the probabilities of the tokens of one vocabulary, but student and "
            "teacher have two tokenizers. Use a student with the teacher's: no other model, no trimmed vocabulary."
        )


def check_batch_size(objective: Objective, args: DistillationTrainingArguments, texts_a_row: int = 1) -> None:
    """Refuse micro-batches in which a loss has nothing to relate; `texts_a_row` is that of the row that has most."""
    texts = args.per_device_train_batch_size * texts_a_row
    for component in objective.components:
        if texts < component.min_texts:
            raise DistillationError(
                f"{component.name} relates the texts of a micro-batch and needs at least {component.min_texts}, but "
                f"per_device_train_batch_size is {args.per_device_train_batch_size}"
                f"{f' and no row has more than {texts_a_row} texts' * (texts_a_row > 1)}. Raise it, or remove the loss."
            )


def check_optimizers(objective: Objective, kwargs: Mapping[str, Any]) -> None:
    """Refuse an optimizer that cannot hold the projections."""
    if len(objective.projections) and kwargs.get("optimizers", (None, None))[0] is not None:
        raise DistillationError(
            "optimizers cannot be honoured with a feature loss whose widths differ: its projections would not be in "
            "that optimizer. Leave optimizers out and use optimizer_cls_and_kwargs or the optim argument."
        )


def check_vocabularies(student: nn.Module, teacher: object, tokenizer: object) -> None:
    """Refuse a teacher that would read the student's token ids as other tokens, as far as numbers and configs tell.

    A difference of up to 1% passes: some models pad their vocabulary.
    """
    own = vocabulary_of(student)
    for model in models_in(teacher):
        other, reasons = vocabulary_of(model), []
        if own and other and abs(own - other) > max(own, other) / 100:
            reasons.append(f"the student has {own} and the teacher {other} tokens")
        for source, name in product((getattr(student, "config", None), tokenizer), SPECIAL_IDS):
            mine, its = getattr(source, name, None), getattr(getattr(model, "config", None), name, None)
            if isinstance(mine, int) and isinstance(its, int) and mine != its:
                reasons.append(f"the student's {name} is {mine} and the teacher's {its}")
        if reasons:
            raise DistillationError(
                f"{reasons[0]}, so the same ids mean other tokens. Pass the teacher's tokenizer as "
                "teacher_processing_class and give the rows its encoding (docs/students.md)."
            )


def vocabulary_of(model: object) -> int:
    """Return how many token ids a model has embeddings for, 0 if it does not say."""
    return int(getattr(getattr(model, "config", None), "vocab_size", 0) or 0)


def id_limits(task: Task, student: Any, teacher: object, has_own_encoding: bool) -> dict[str, int]:
    """Return how many ids the models know, by entry of a batch; an entry is left out where nothing tells."""
    own = vocabulary_of(student)
    its = min(filter(None, map(vocabulary_of, models_in(teacher))), default=0)  # kept answers do not tell
    ids = task.modality.values
    limits = {ids: own, TEACHER + ids: its} if has_own_encoding else {ids: min(own, its or own)}
    if task.answer == "categorical" and not task.classes_vary:
        limits["labels"] = task.num_classes(student.config)
    return {name: limit for name, limit in limits.items() if limit}


def models_in(teacher: object) -> Iterator[nn.Module]:
    """Yield the models that a teacher is made of, however it is given: alone, in a list, inside a `Teacher`."""
    if isinstance(teacher, nn.Module):
        yield teacher
    elif isinstance(teacher, list | tuple | Mapping):
        for member in teacher.values() if isinstance(teacher, Mapping) else teacher:
            yield from models_in(member)
    elif isinstance(teacher, Teacher):
        yield from models_in(getattr(teacher, "__dict__", {}))


def check_separate(student: nn.Module, teacher: object) -> None:
    """Refuse a student that shares weights with its teacher: they would be frozen, or the teacher trained."""
    own = {parameter.data_ptr(): name for name, parameter in student.named_parameters() if parameter.numel()}
    for model in models_in(teacher):
        shared = [own[weight.data_ptr()] for weight in model.parameters() if own.get(weight.data_ptr())]
        if shared and not next(model.parameters()).is_meta:
            raise DistillationError(
                f"the student shares {len(shared)} of its weights with the teacher ({', '.join(shared[:3])}), which is "
                "not to be trained. Give it copies: build_student(teacher, ...) or copy.deepcopy."
            )


def check_finite(**models: object) -> None:
    """Refuse models, or what is made of models, whose weights are NaN or infinite before anything is trained."""
    for owner, given in models.items():
        for name, weight in (pair for model in models_in(given) for pair in model.named_parameters()):
            # A sum is finite only if all is, and takes a tenth of the time.
            if not weight.is_meta and not weight.sum().isfinite() and not weight.isfinite().all():
                raise DistillationError(
                    f"the {owner}'s weights must be finite, but {name} ({weight.dtype}) holds NaN or infinite values. "
                    "Load weights from before they broke; where float16 is too small for them, use float32."
                )


def check_temperatures(read_at: frozenset[float | None], teacher: SignalProfile | None) -> None:
    """Refuse answers that were kept for one temperature and are read at another."""
    if teacher is None or teacher.temperature is None or read_at <= {teacher.temperature}:
        return
    others = ", ".join("as they are" if one is None else f"at {one:g}" for one in read_at - {teacher.temperature})
    raise DistillationError(
        f"the teacher's answers hold the largest logits of its vocabulary, and the mass of the others at temperature "
        f"{teacher.temperature:g}, but this training reads them {others}. Train at that temperature, without a "
        "schedule, or write the answers anew."
    )


def check_tokens(dataset: object, split: str, limits: Mapping[str, int], may_be_text: bool) -> None:
    """Refuse rows without token ids, or with ids beyond the `id_limits`; rows that are made when they are read pass.

    There must be some to train on, with the teacher's own encoding. A collator of the user's may tokenise texts.
    """
    if split == "training" and isinstance(dataset, Sized) and len(dataset) == 0:
        raise DistillationError(
            "the training data must hold rows, but it has none. Look at how it was made or filtered."
        )
    names = _columns_of(dataset)
    if names is None:
        return
    needed = [name for name in limits if name == TOKENS.values or (name != "labels" and split == "training")]
    absent = [name for name in needed if name not in names]
    if absent and not may_be_text:
        raise DistillationError(
            f"the {split} data must be tokenised, but has no column {absent[0]!r}, only {shown(names)}. For texts: "
            "data.map(lambda rows: tokenizer(rows['text'], truncation=True), batched=True); for other rows see "
            "docs/tasks/in_python.md, for two tokenizers docs/students.md."
        )
    for name in (name for name in needed if name in names and isinstance(dataset, Dataset)):
        if not may_be_text:
            require_ids(dataset, name, split)
        for ids in token_ids_of(dataset, name):
            refuse_outside(name, [pc.min(ids).as_py(), pc.max(ids).as_py()], limits[name], f"the {split} data")


def _columns_of(dataset: object) -> list[str] | None:
    """Return the columns of a data set, or of the first row of a list; None where they are not known."""
    if isinstance(dataset, list | tuple) and dataset:
        return list(dataset[0]) if isinstance(dataset[0], Mapping) else []
    if isinstance(dataset, IterableDataset) or (isinstance(dataset, Dataset) and dataset.format["type"] != "custom"):
        return dataset.column_names
    return None


def check_resumable(checkpoint: str) -> None:
    """Refuse a checkpoint without the state of the optimizer or of its schedule, which the Trainer lets pass."""
    absent = [part for part in absent_parts(Path(checkpoint)) if part in ("optimizer", "learning rate schedule")]
    if absent:
        raise DistillationError(
            f"the checkpoint {checkpoint} has no {' and no '.join(absent)}, as save_only_model leaves it, so a "
            "training cannot go on from it. Resume from a whole checkpoint, or load the student from this one and "
            "train it anew without resume_from_checkpoint."
        )


def check_parallelism(trainer: Trainer) -> None:
    """Refuse parallelism within a batch."""
    sizes = {"context": trainer.get_cp_size(), "sequence": trainer.get_sp_size(), "tensor": trainer.get_tp_size()}
    for name, size in sizes.items():
        if size > 1:
            raise DistillationError(
                f"{name} parallelism of {size} splits a batch in a way that the objective cannot count. Use data "
                "parallelism: one whole student a process."
            )


def check_weights_finite(model: nn.Module, step: int) -> None:
    """Refuse to save weights that are NaN or infinite."""
    weights = list(model.parameters())
    # As in check_finite, the sums first.
    sums_are_finite = torch.stack([weight.sum().isfinite() for weight in weights]).all()
    if not sums_are_finite and not torch.stack([weight.isfinite().all() for weight in weights]).all():
        raise NonFiniteLossError(
            f"the student's weights became NaN or infinite at or before optimizer step {step}, although the loss was "
            "finite: a gradient overflowed. The last checkpoint is from before that and is kept. Lower the learning "
            "rate, set max_grad_norm, or train in float32."
        )
