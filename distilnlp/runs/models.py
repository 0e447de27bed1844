"""The models of a run: their shapes, their weights loaded and checked, and the student built from its teacher."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoConfig, PreTrainedModel, set_seed

from distilnlp.data import spread
from distilnlp.errors import DistillationError
from distilnlp.models.families import find_family
from distilnlp.models.loading import load_pretrained
from distilnlp.models.shapes import IN_CHUNKS
from distilnlp.recipe.sections import StudentConfig
from distilnlp.runs.reading import Reader
from distilnlp.signals import ANSWER, EXAMPLE, FOLD, OFFSETS, WORD_IDS, label_names_of, student_view
from distilnlp.students import build_student, trim_vocabulary
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, TASKS, Task, task_named, task_of
from distilnlp.teachers import has_untrained_head
from distilnlp.training.refusals import check_finite

NOT_FOR_MODELS = ("length", EXAMPLE, OFFSETS, WORD_IDS, FOLD, ANSWER)
LAYER = re.compile(r"\.(?:layers?|h|blocks?)\.(\d+)\.")  # in the name of a weight
SAMPLE_ROWS = 64  # by which heads and neurons are ranked


def find_task(task: str | None, finished: str | None, trusted: Collection[str] = ()) -> Task:
    """Return the task that a recipe names, or else the one that a finished model's config names, if it does.

    A masked language model must be named: most encoders are published as one, to be fine-tuned for something else.
    """
    if task is not None:
        return task_named(task)
    if finished is None:
        return SINGLE_LABEL_CLASSIFICATION
    config = load_pretrained(AutoConfig, finished, trusted)
    for candidate in TASKS.values():
        if saved_head(config, candidate) and candidate.fits(config) and not candidate.must_be_named:
            return candidate
    return SINGLE_LABEL_CLASSIFICATION


def student_folder(student: str) -> Path:
    """Return a student's folder, for a command that reads or writes beside the weights.

    Raises:
        DistillationError: there is no such folder.
    """
    folder = Path(student)
    if not folder.is_dir():
        raise DistillationError(f"expected the folder of a student, but {student!r} is none. Give a local folder.")
    return folder


def saved_head(config: Any, task: Task) -> str | None:
    """Return the class of a task's head if that is what a config says was saved, else None."""
    head = getattr(task.model_classes.get(type(config), None), "__name__", None)
    return head if head in (config.architectures or ()) else None


def load_finished(name: str, task: Task, trusted: Collection[str] = ()) -> PreTrainedModel:
    """Load a fine-tuned model with its head.

    Raises:
        DistillationError: the head is new, weights are missing or left over, or the model is for another task.
    """
    _check_saved_head(name, task, trusted)
    model, report = load_pretrained(task.auto_class, name, trusted, output_loading_info=True)
    _check_layers(name, model, report)
    missing = sorted(report["missing_keys"])
    prefix = f"{model.base_model_prefix}."
    if has_untrained_head(model) or any(not key.startswith(prefix) for key in missing):
        raise DistillationError(
            f"{name} has no trained head for {task.name}: it is a bare encoder, or its head is new or for another "
            "task. Set `teacher.finetune: true` to fine-tune it on the labelled rows first (flag --teacher.finetune "
            "true), give a fine-tuned model, or set `task`."
        )
    if missing:
        raise _lacks(name, missing)
    own = task_of(meant_for(model, task))
    if own is not task:
        raise DistillationError(f"{name} is a model for {own.name}, not for {task.name}. Set `task: {own.name}`.")
    if task.has_label_names:
        label_names_of(model.config)
    return model


def _check_layers(name: str, model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Refuse a config that has fewer layers than the weights, or more: the model would be cut, or random in part."""
    lacking = [key for key in report["missing_keys"] if LAYER.search(key)]
    lacking += [key for key, *_ in report["mismatched_keys"]]
    if encoder := sorted(key for key in lacking if key.startswith(f"{model.base_model_prefix}.")):
        raise _lacks(name, encoder)
    left_over = [key for key in report["unexpected_keys"] if LAYER.search(key)]
    if left_over:
        layers = {LAYER.findall(key)[0] for key in left_over}
        raise DistillationError(
            f"the config of {name} has {model.config.num_hidden_layers} layers, but its weights are of "
            f"{len(layers)} more, such as {min(left_over)}. Restore the config that was saved with these weights."
        )


def _lacks(name: str, missing: Sequence[str]) -> DistillationError:
    return DistillationError(
        f"the folder or repository {name} lacks {len(missing)} of the model's weights, which would be random: "
        f"{missing[:3]}. Restore the config that was saved with its weights, or save it again with save_pretrained."
    )


def _check_saved_head(name: str, task: Task, trusted: Collection[str]) -> None:
    """Refuse a model that was saved with the head of another task: its weights might happen to fit."""
    config = load_pretrained(AutoConfig, name, trusted)
    for other in TASKS.values():
        head = saved_head(config, other)
        if head and other.model_classes is not task.model_classes:
            raise DistillationError(
                f"{name} has no trained head for {task.name}: it is a {head}, a model for {other.name}. Set `task: "
                f"{other.name}`, or `teacher.finetune: true` to give it a new head (flag --teacher.finetune true)."
            )


def load_labelled(
    folder: Path | str, task: Task, label_names: Sequence[str], trusted: Collection[str] = (), **options: Any
) -> PreTrainedModel:
    """Load a checked model of the run; if it has no label names of its own, it gets those of the data.

    A `Path` is a folder that the run wrote: code of its own in it is that of a trusted model, if there is one.
    """
    may_run_code = bool(trusted) if isinstance(folder, Path) else folder in trusted
    model = task.auto_class.from_pretrained(str(folder), trust_remote_code=may_run_code, **options)
    meant_for(model, task)
    has_names = label_names and set(label_names_of(model.config) or ()) == set(label_names)
    return model if has_names else named(model, label_names)


def new_head(
    name: str, task: Task, label_names: Sequence[str], seed: int, trusted: Collection[str] = ()
) -> PreTrainedModel:
    """Load an encoder with a new head for a task, in float32, because it is to be trained."""
    set_seed(seed)  # the new head is random
    options = {"ignore_mismatched_sizes": True, "dtype": torch.float32, "output_loading_info": True}
    model, report = load_pretrained(task.auto_class, name, trusted, **_head(task, label_names), **options)
    _check_layers(name, model, report)
    check_finite(**{name: model})
    return named(model, label_names)


def shape_of_finished(name: str, task: Task, trusted: Collection[str] = ()) -> PreTrainedModel:
    """Return the shape, without weights, of what `load_finished` loads."""
    _check_saved_head(name, task, trusted)
    config = load_pretrained(AutoConfig, name, trusted)
    if task.has_label_names:
        label_names_of(config)  # refuses names with a gap
    return meant_for(_shape(config, name, task, trusted), task)


def shape_of_new_head(
    name: str, task: Task, label_names: Sequence[str], trusted: Collection[str] = ()
) -> PreTrainedModel:
    """Return the shape, without weights, of what `new_head` loads.

    Raises:
        DistillationError: an architecture that cannot be trained here.
    """
    config = load_pretrained(AutoConfig, name, trusted, **_head(task, label_names))
    if config.model_type in IN_CHUNKS:
        raise DistillationError(
            f"{name} is a {config.model_type}, which trains on texts of one fixed length alone, but texts are "
            "padded to the longest of their batch. Give a model of another architecture."
        )
    return named(_shape(config, name, task, trusted, dtype=torch.float32), label_names)


def _head(task: Task, label_names: Sequence[str]) -> dict[str, Any]:
    """Return what a config says of a new head."""
    options: dict[str, Any] = {} if task.problem_type is None else {"problem_type": task.problem_type}
    if task.has_label_names or task.num_outputs is not None:
        options["num_labels"] = task.num_outputs or len(label_names)
    return options


def _shape(config: Any, name: str, task: Task, trusted: Collection[str], **options: Any) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            return task.auto_class.from_config(config, trust_remote_code=name in trusted, **options)
    except Exception as error:  # an architecture without this head, settings that do not fit one another: many kinds
        raise DistillationError(
            f"the config of {name} makes no model for {task.name}: {type(error).__name__}: {error}. Name another model."
        ) from error


def label_list(model: PreTrainedModel, task: Task) -> list[str]:
    """Return a model's label names in logit order; none where the task has none."""
    config: Any = model.config
    return [config.id2label[index] for index in range(config.num_labels)] if task.has_label_names else []


def meant_for(model: PreTrainedModel, task: Task) -> PreTrainedModel:
    """Let the task decide what a head is for whose config does not say it, as after a training loop of one's own."""
    config: Any = model.config
    if getattr(config, "problem_type", None) is None and type(config) in task.model_classes:
        config.problem_type = task.problem_type
        if not task.fits(config):
            config.problem_type = None
    return model


def named(model: PreTrainedModel, label_names: Sequence[str]) -> PreTrainedModel:
    """Give a model the label names of the data; nothing where the task has none."""
    if label_names:
        model.config.id2label = dict(enumerate(label_names))
        model.config.label2id = {label: index for index, label in enumerate(label_names)}
    return model


def shape_of_student(config: StudentConfig, teacher: PreTrainedModel) -> PreTrainedModel:
    """Return the shape of the student that is cut from a teacher, which may be a shape itself.

    Raises:
        DistillationError: the teacher does not allow it.
    """
    find_family(teacher.config.model_type)  # before its config is asked for what a family has
    return build_student(teacher, **_cut(config, teacher))


def cut_student(
    config: StudentConfig, teacher: PreTrainedModel, reader: Reader, train: Dataset, seed: int
) -> PreTrainedModel:
    """Return the student that is cut from a teacher.

    Args:
        config: says what is cut.
        teacher: what it is cut from.
        reader: how it reads.
        train: normalised training rows: the text that importance is measured on and a vocabulary must cover.
        seed: of what the task draws.
    """
    options = _cut(config, teacher)
    if config.changes_width:
        set_seed(seed)
        encoded = reader.encode(student_view(spread(train, SAMPLE_ROWS)), "Tokenising a sample")
        examples = list(encoded.remove_columns([name for name in NOT_FOR_MODELS if name in encoded.column_names]))
        options["sample"] = [reader.collate(examples[start : start + 8]) for start in range(0, len(examples), 8)]
    student = build_student(teacher, **options)
    texts = reader.task.rows.texts(train)
    return trim_vocabulary(student, reader.tokenizer, texts)[0] if config.trim_vocabulary else student


def _cut(config: StudentConfig, teacher: PreTrainedModel) -> dict[str, Any]:
    options = config.model_dump(exclude={"model", "trim_vocabulary"}, exclude_none=True)
    if not options.keys() & {"num_layers", "layers"}:
        options["num_layers"] = max(1, teacher.config.num_hidden_layers // 2)
    return options
