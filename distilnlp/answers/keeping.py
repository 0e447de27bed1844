"""When a teacher's answers are kept on disk, and how: asked once, read in every epoch."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datasets import Dataset, concatenate_datasets

from distilnlp.answers.store import AnswerStore
from distilnlp.answers.writing import CacheSettings, CacheWriter, check_request, key_columns
from distilnlp.errors import DistillationError, NotKeptError
from distilnlp.models.identity import tokenizer_fingerprint
from distilnlp.objective import Objective
from distilnlp.signals import TOKENS, SignalRequest, columns_under
from distilnlp.tasks import Task
from distilnlp.teachers import Collate, Teacher

logger = logging.getLogger(__name__)

AUTO, OFF = "auto", "off"


class KeepingArguments(Protocol):
    """What is read of `DistillationTrainingArguments`."""

    teacher_cache: str
    teacher_cache_dtype: str
    teacher_cache_top_k: int
    temperature: float
    eval_soft_loss: bool
    num_train_epochs: float
    max_steps: int
    gradient_accumulation_steps: int

    @property
    def train_batch_size(self) -> int: ...  # noqa: D102
    @property
    def eval_batch_size(self) -> int: ...  # noqa: D102
    @property
    def world_size(self) -> int: ...  # noqa: D102


# ---- When ----


@dataclass(frozen=True)
class Keeping:
    """Whether a teacher's answers are kept on disk.

    Attributes:
        folder: where they are kept; None = the teacher is asked anew each time.
        is_named: the user named the folder: another cache in it stays, and what cannot be kept there is an error.
        why_live: why they are not kept; empty where they are, or the user wants them not to be.
        is_refused: they cannot be kept although that is asked for.
    """

    folder: Path | None
    is_named: bool
    why_live: str = ""
    is_refused: bool = False


def decide_keeping(
    args: KeepingArguments,
    task: Task,
    objective: Objective,
    num_labels: int,
    rows: int,
    own_folder: Path,
    *,
    obstacle: str | None = None,
    doubt: str | None = None,
    is_asked_for: bool = False,
) -> Keeping:
    """Decide whether a teacher's answers are kept: the one place where `teacher_cache` is read.

    Args:
        num_labels: of the teacher's logits.
        rows: how many there are to train on.
        own_folder: where they are kept if the user names no folder.
        obstacle: what makes it impossible, as far as the rows and the teacher tell; see `obstacle_in_rows`.
        doubt: what speaks against it unless the user names a folder.
        is_asked_for: keep them whatever `teacher_cache` says, also where no loss reads them.
    """
    named = named_folder(args.teacher_cache)
    is_wanted = is_asked_for or named is not None
    cut, read_at = _left_out(args, task, num_labels), asked_temperatures(args, objective)
    why = obstacle or _why_impossible(objective.teacher_request, read_at if cut else frozenset())
    if why and is_wanted:
        return Keeping(None, named is not None, why, is_refused=True)
    if not is_asked_for and (args.teacher_cache == OFF or not objective.needs_teacher):
        return Keeping(None, named is not None)
    if not why and not is_wanted:
        why = doubt
        if cut and read_at:
            why = why or "of a vocabulary's logits only the largest would be kept, which changes the losses"
        rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        reads_again = args.max_steps * rows_a_step > rows if args.max_steps > 0 else args.num_train_epochs > 1
        if not reads_again:
            why = why or "each row is read once"
    return Keeping(None, False, why) if why else Keeping(named or own_folder, named is not None)


def named_folder(teacher_cache: str) -> Path | None:
    """Return the folder that `teacher_cache` names, if it does."""
    return None if teacher_cache in (AUTO, OFF) else Path(teacher_cache).expanduser()


def obstacle_in_rows(task: Task, datasets: list[Any]) -> str | None:
    """Return why answers to the rows of data sets cannot be kept; None if they can."""
    if not all(isinstance(rows, Dataset) and rows.format["type"] != "custom" for rows in datasets):
        return "the rows are a stream, are transformed as they are read, or are not a datasets.Dataset"
    if task.draws_its_items and any("labels" not in rows.column_names for rows in datasets):
        return "tokens are masked anew in every epoch"
    return None


def _left_out(args: KeepingArguments, task: Task, num_labels: int) -> int:
    """Return how many of a teacher's logits are not kept: those of a vocabulary beyond the largest."""
    return max(num_labels - args.teacher_cache_top_k, 0) if task.classes_are_tokens else 0


def asked_temperatures(args: KeepingArguments, objective: Objective) -> frozenset[float | None]:
    """Return the temperatures at which a teacher's logits are read, in evaluation too; None = as they are."""
    return objective.teacher_temperatures | ({args.temperature} if args.eval_soft_loss else frozenset())


def _why_impossible(request: SignalRequest, read_at: frozenset[float | None]) -> str | None:
    """Return why signals cannot be kept; `read_at` are the temperatures at which logits of a cut vocabulary count."""
    if len(read_at) > 1 or None in read_at:
        return (
            "of a vocabulary's logits the largest are kept, and the mass of the others at one temperature, but the "
            "losses read them at several (schedules, a loss's own temperature, eval_soft_loss) or as they are. "
            "Raise teacher_cache_top_k to the size of the vocabulary"
        )
    try:
        check_request(request)
    except DistillationError as error:
        return str(error)
    return None


# ---- How ----


@dataclass(frozen=True)
class AskedRows:
    """The rows that a teacher is asked about in a training, and how it reads them.

    Attributes:
        task: of the teacher.
        objective: reads the answers.
        datasets: the rows; the training rows first.
        collate: makes the teacher's batches.
        tokenizers: the teacher's, or those of an ensemble's members by the prefix of their columns.
        prefix: of the teacher's columns, where rows carry an encoding of its own beside the student's.
    """

    task: Task
    objective: Objective
    datasets: list[Dataset]
    collate: Collate
    tokenizers: Mapping[str, Any]
    prefix: str


def keep_answers(
    folder: Path,
    args: KeepingArguments,
    teacher: Teacher,
    asked: AskedRows,
    *,
    overwrite: bool,
    further: Mapping[str, Any] | None = None,
) -> None:
    """Write what is missing of a teacher's answers; called on every process.

    Args:
        folder: of the cache.
        args: of the training.
        teacher: under the names of its own columns.
        asked: what it is asked.
        overwrite: delete another cache that is in the folder.
        further: what else went into the answers, for the manifest.

    Raises:
        NotKeptError: nothing tells the teacher from others, or see `CacheWriter.write`.
    """
    fingerprint = getattr(teacher, "fingerprint", None)  # hashes all weights: asked for once
    if fingerprint is None:
        raise NotKeptError(
            f"{type(teacher).__name__} has no `fingerprint` that says which teacher it is. Give it one, or set "
            "teacher_cache to off."
        )
    # A collator may need the modality's to make batches.
    read = dict.fromkeys([*key_columns(asked.task, teacher.columns), TOKENS.values, TOKENS.mask])
    parts = [columns_under(asked.prefix, part.with_format(None), read) for part in asked.datasets]
    # A cast writes the rows anew, even to the types that they have.
    alike = [part if part.features == parts[0].features else part.cast(parts[0].features) for part in parts]
    rows = concatenate_datasets(alike)
    tokenizers = {
        prefix.removeprefix(asked.prefix): tokenizer_fingerprint(own) for prefix, own in asked.tokenizers.items()
    }
    identity = {"teacher": fingerprint, "tokenizer": tokenizers, **(further or {})}
    read_at = asked_temperatures(args, asked.objective)
    temperature = next(iter(read_at), None) or 1.0
    settings = CacheSettings(args.teacher_cache_dtype, args.teacher_cache_top_k, args.eval_batch_size, temperature)
    request = asked.objective.teacher_request
    writer = CacheWriter(folder, rows, asked.collate, asked.task, teacher, request, identity, settings)
    writer.write(overwrite=overwrite)
    logger.info("teacher: asked once, every epoch reads its answers from %s (%s)", folder, settings.dtype)
    cut = _left_out(args, asked.task, teacher.profile.num_labels)
    if cut and read_at:
        logger.warning(
            "teacher: %s logits a token are kept and %s are not; these hold %.1f%% of its probability at temperature "
            "%g, which the student is taught as if they shared it evenly",
            args.teacher_cache_top_k,
            cut,
            100 * AnswerStore(folder, verify=False).rest_share(),
            temperature,
        )
