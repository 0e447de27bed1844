"""The models of a run: loaded, checked, named after the data's labels, and the student built from its teacher."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from distilnlp.data import FOLD, DataConfig
from distilnlp.data.questions import EXAMPLE, OFFSETS
from distilnlp.data.rows import ANSWER
from distilnlp.data.views import student_view
from distilnlp.data.words import WORD_IDS
from distilnlp.errors import DistillationError, UnreachableError, did_you_mean
from distilnlp.recipe import Recipe
from distilnlp.signals import label_names_of
from distilnlp.students import build_student, trim_vocabulary
from distilnlp.tasks import MASKED_LM, SINGLE_LABEL_CLASSIFICATION, TASKS, Task, task_named, task_of
from distilnlp.teachers import has_untrained_head

NOT_FOR_MODELS = ("length", EXAMPLE, OFFSETS, WORD_IDS, FOLD, ANSWER)
SAMPLE_ROWS = 64  # by which heads and neurons are ranked


def load_pretrained(auto_class: Any, name: str, **kwargs: Any) -> Any:
    """Load with an auto class of transformers.

    Raises:
        UnreachableError: the name is no local path and the Hub did not give it.
        DistillationError: the local folder cannot be loaded.
    """
    try:
        return auto_class.from_pretrained(name, **kwargs)
    except Exception as error:  # transformers, tokenizers and safetensors raise many kinds, also plain ones
        is_path = name.startswith((".", "/", "~")) or Path(name).exists()
        kind = DistillationError if is_path else UnreachableError
        near = did_you_mean(name, [path.name for path in Path.cwd().iterdir() if path.is_dir()])
        raise kind(
            f"cannot load the model {name!r}: it must be a local folder (seen from {Path.cwd()}) or a Hub id that can "
            f"be reached or is in the cache.{near} {type(error).__name__}: {error}"
        ) from error


def find_task(task: str | None, finished: str | None) -> Task:
    """Return the task that a recipe names, or else the one that a finished model's config tells of, if there is one.

    A masked language model must be named: most encoders are published as one, to be fine-tuned for something else.
    """
    if task is not None:
        return task_named(task)
    if finished is None:
        return SINGLE_LABEL_CLASSIFICATION
    config = load_pretrained(AutoConfig, finished)
    for candidate in TASKS.values():
        if _saved_head(config, candidate) and candidate.fits(config) and candidate is not MASKED_LM:
            return candidate
    return SINGLE_LABEL_CLASSIFICATION


def _saved_head(config: Any, task: Task) -> str | None:
    """Return the class of a task's head if that is what a config says was saved, else None."""
    head = getattr(task.model_classes.get(type(config), None), "__name__", None)
    return head if head in (config.architectures or ()) else None


def load_finished(name: str, task: Task) -> PreTrainedModel:
    """Load a fine-tuned model with its head.

    Raises:
        DistillationError: the head is new, weights are missing, or the model is for another task.
    """
    _check_saved_head(name, task)
    model, report = load_pretrained(task.auto_class, name, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    prefix = f"{model.base_model_prefix}."
    if has_untrained_head(model) or any(not key.startswith(prefix) for key in missing):
        raise DistillationError(
            f"{name} has no trained head for {task.name}: it is a bare encoder, or its head is new or for another "
            "task. Set `teacher.finetune: true` to fine-tune it on the labelled rows first (flag --teacher.finetune "
            "true), give a fine-tuned model, or set `task`."
        )
    if missing:
        raise DistillationError(
            f"the folder or repository {name} lacks {len(missing)} of the model's weights, which would be random: "
            f"{missing[:3]}. Expected a complete model for {task.name}; save it again with save_pretrained."
        )
    own = task_of(model)
    if own is not task:
        raise DistillationError(f"{name} is a model for {own.name}, not for {task.name}. Set `task: {own.name}`.")
    if task.has_label_names:
        label_names_of(model.config)
    return model


def _check_saved_head(name: str, task: Task) -> None:
    """Refuse a model that was saved with the head of another task: its weights might happen to fit."""
    config = load_pretrained(AutoConfig, name)
    for other in TASKS.values():
        head = _saved_head(config, other)
        if head and other.model_classes is not task.model_classes:
            raise DistillationError(
                f"{name} has no trained head for {task.name}: it is a {head}, a model for {other.name}. Set `task: "
                f"{other.name}`, or `teacher.finetune: true` to give it a new head (flag --teacher.finetune true)."
            )


def load_labelled(folder: Path | str, task: Task, label_names: Sequence[str], **options: Any) -> PreTrainedModel:
    """Load a checked model of the run; if it has no label names of its own, it gets those of the data."""
    model = task.auto_class.from_pretrained(str(folder), **options)
    has_names = label_names and set(label_names_of(model.config) or ()) == set(label_names)
    return model if has_names else named(model, label_names)


def new_head(name: str, task: Task, label_names: Sequence[str], seed: int) -> PreTrainedModel:
    """Load an encoder with a new head for a task, in float32, for it is to be trained."""
    set_seed(seed)  # the new head is random
    options: dict[str, Any] = {}
    if task.problem_type is not None:
        options["problem_type"] = task.problem_type
    if task.has_label_names or task.num_outputs is not None:
        options["num_labels"] = task.num_outputs or len(label_names)
    model = load_pretrained(task.auto_class, name, ignore_mismatched_sizes=True, dtype=torch.float32, **options)
    return named(model, label_names)


def label_list(model: PreTrainedModel, task: Task) -> list[str]:
    """Return a model's label names in logit order; none where the task has none."""
    config: Any = model.config
    return [config.id2label[index] for index in range(config.num_labels)] if task.has_label_names else []


def named(model: PreTrainedModel, label_names: Sequence[str]) -> PreTrainedModel:
    """Give a model the label names of the data; nothing where the task has none."""
    if label_names:
        model.config.id2label = dict(enumerate(label_names))
        model.config.label2id = {label: index for index, label in enumerate(label_names)}
    return model


def pretrained_student(
    recipe: Recipe, task: Task, label_names: Sequence[str]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the small pretrained model that a recipe names, with a new head, and its tokenizer."""
    name = str(recipe.student.model)
    return new_head(name, task, label_names, recipe.seed), load_pretrained(AutoTokenizer, name)


def cut_student(
    recipe: Recipe,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    train: Dataset,
    max_length: int,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the student that is cut from a teacher, and its tokenizer.

    Args:
        recipe: its `student` section says what is cut.
        teacher: what it is cut from.
        tokenizer: the teacher's.
        task: of both.
        train: normalised training rows: the text that importance is measured on and a vocabulary must cover.
        max_length: of that text, in tokens.

    Raises:
        DistillationError: the teacher does not allow it.
    """
    config = recipe.student
    options = config.model_dump(exclude={"model", "trim_vocabulary"}, exclude_none=True)
    if not options.keys() & {"num_layers", "layers"}:
        options["num_layers"] = max(1, teacher.config.num_hidden_layers // 2)
    if config.changes_width:
        options["sample"] = sample_of(recipe, tokenizer, task, train, max_length)
    student = build_student(teacher, **options)
    if not config.trim_vocabulary:
        return student, tokenizer
    return trim_vocabulary(student, tokenizer, task.rows.texts(train))


def sample_of(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, task: Task, train: Dataset, max_length: int
) -> list[dict[str, torch.Tensor]]:
    """Return some training rows as batches, spread evenly over the data."""
    set_seed(recipe.seed)  # a masked language model's collator draws
    step = max(1, len(train) // SAMPLE_ROWS)
    chosen = student_view(train.select(range(0, min(len(train), step * SAMPLE_ROWS), step)))
    encoded = task.rows.encode(chosen, tokenizer, max_length, "Tokenising a sample", config=recipe.data)
    collate = collator_of(task, tokenizer, recipe.data)
    examples = list(encoded.remove_columns([name for name in NOT_FOR_MODELS if name in encoded.column_names]))
    return [collate(examples[start : start + 8]) for start in range(0, len(examples), 8)]


def collator_of(task: Task, tokenizer: PreTrainedTokenizerBase, config: DataConfig) -> Any:
    """Return the task's collator, with what the recipe says for it."""
    return task.collator(tokenizer, **{key: getattr(config, key) for key in task.collator_keys})


def same_vocabulary(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers give the same ids for the same text, as far as their vocabularies and marks tell."""

    def rules(tokenizer: PreTrainedTokenizerBase) -> tuple[Any, ...]:
        return type(tokenizer), tokenizer.get_vocab(), tokenizer.special_tokens_map

    return first is second or rules(first) == rules(second)


def longest_text(tokenizer: PreTrainedTokenizerBase, config: Any) -> int:
    """Return how many tokens a model can read."""
    # RoBERTa and MPNet number positions from padding_idx + 1, so that some of their positions hold no token.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "mpnet") else 0
    return min(tokenizer.model_max_length, config.max_position_embeddings - offset)


def readable_length(
    max_length: int, tokenizer: PreTrainedTokenizerBase, config: Any, key: str = "data.max_length"
) -> int:
    """Return the length that a recipe's key gives, or what the model reads if that is shorter and none was asked for.

    Raises:
        DistillationError: a longer one was asked for, or the tokenizer is not the model's.
    """
    is_empty = len(tokenizer) <= len(tokenizer.all_special_ids)  # what transformers makes up where a folder has none
    if len(tokenizer) > config.vocab_size or tokenizer.pad_token is None or is_empty:
        raise DistillationError(
            f"the tokenizer must fit the model, but it has {len(tokenizer)} tokens and the pad token "
            f"{tokenizer.pad_token!r}, and the model has {config.vocab_size} embeddings. Put the model's own tokenizer "
            "into its folder."
        )
    limit = longest_text(tokenizer, config)
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if min(max_length, limit) <= special + 1:
        raise DistillationError(
            f"{key} must leave room for text beside the {special} special tokens of a pair, but it is "
            f"{min(max_length, limit)}. Raise it."
        )
    is_default = key == "data.max_length" and max_length == DataConfig.model_fields["max_length"].default
    if max_length > limit and not is_default:
        raise DistillationError(
            f"{key} must be at most {limit}, the longest text that the model reads, but it is {max_length}. Lower it."
        )
    return min(max_length, limit)
