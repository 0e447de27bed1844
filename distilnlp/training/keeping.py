"""When a teacher's answers are kept on disk, and how: asked once, read in every epoch."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets
from transformers import DataCollatorWithPadding, DefaultDataCollator, default_data_collator

from distilnlp.answers import AnswerStore, CachedTeacher, CacheSettings, CacheWriter, check_request
from distilnlp.answers.writing import key_columns
from distilnlp.errors import DistillationError, NotKeptError
from distilnlp.models.identity import tokenizer_fingerprint
from distilnlp.objective import Objective
from distilnlp.signals import SignalRequest
from distilnlp.signals.modality import TOKENS
from distilnlp.tasks import Task
from distilnlp.tasks.collators import AllEncodings, RowCollator
from distilnlp.tasks.masked_lm.head import MaskingCollator
from distilnlp.tasks.multiple_choice.head import ChoiceCollator
from distilnlp.teachers import LookupTeacher, Teacher
from distilnlp.training.arguments import DistillationTrainingArguments

logger = logging.getLogger(__name__)

AUTO, OFF = "auto", "off"
FOLDER = "_teacher_cache"  # in the output folder; the underscore keeps it out of what is pushed to the Hub
# Collators that leave nothing to chance (one that draws masks is left alone by rows that are masked already).
SAME_EVERY_TIME = (
    DataCollatorWithPadding,
    DefaultDataCollator,
    RowCollator,
    ChoiceCollator,
    MaskingCollator,
)


@dataclass(frozen=True)
class Questions:
    """What a teacher is asked in a training.

    Attributes:
        task: of the teacher.
        request: the signals that the objective reads beside the logits.
        datasets: the rows; the training rows first.
        collate: makes the teacher's batches.
        tokenizers: the teacher's, or those of an ensemble's members by the prefix of their columns.
        prefix: of the teacher's columns, where rows carry an encoding of its own beside the student's.
        temperatures: at which its logits are read, None = as they are; see `Objective.teacher_temperatures`.
        left_out: how many of a vocabulary's logits would not be kept.
    """

    task: Task
    request: SignalRequest
    datasets: list[Any]
    collate: Callable[[list[Any]], dict[str, Any]]
    tokenizers: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    temperatures: frozenset[float | None] = frozenset()
    left_out: int = 0

    @property
    def is_changed(self) -> bool:
        """Whether kept answers teach something else: of a vocabulary's logits, all but the largest share one value."""
        return self.left_out > 0 and bool(self.temperatures)

    def why_not_kept(self) -> str | None:
        """Return why the answers cannot be kept; None if they can."""
        if not all(isinstance(rows, Dataset) and rows.format["type"] != "custom" for rows in self.datasets):
            return "the rows are a stream, are transformed as they are read, or are not a datasets.Dataset"
        if self.task.draws_its_items and any("labels" not in rows.column_names for rows in self.datasets):
            return "tokens are masked anew in every epoch"
        if self.is_changed and (len(self.temperatures) > 1 or None in self.temperatures):
            return (
                "of a vocabulary's logits the largest are kept, and the mass of the others at one temperature, but the "
                "losses read them at several (schedules, a loss's own temperature, eval_soft_loss) or as they are. "
                "Raise teacher_cache_top_k to the size of the vocabulary"
            )
        try:
            check_request(self.request)
        except DistillationError as error:
            return str(error)
        return None


def with_kept_answers(
    args: DistillationTrainingArguments, teacher: Teacher, questions: Questions, is_own_collator: bool
) -> Teacher:
    """Return the teacher itself, or one that reads its answers from disk, whichever is faster and gives the same.

    Args:
        args: of the training.
        teacher: under the names of its own columns.
        questions: what it is asked.
        is_own_collator: whether the batches are made by a collator of the user.

    Raises:
        DistillationError: `teacher_cache` names a folder, and the answers cannot be kept there.
    """
    if isinstance(teacher, LookupTeacher) or args.teacher_cache == OFF:
        return teacher
    is_wanted = args.teacher_cache != AUTO
    reason = questions.why_not_kept()
    # Who names a folder says that the collator makes the same of the same rows.
    if not reason and not is_wanted and is_own_collator and not _is_fixed(questions.collate):
        reason = "data_collator is one of your own, which may change the rows"
    if reason and is_wanted:
        fix = "Set teacher_cache to auto or off."
        raise DistillationError(f"teacher_cache is {args.teacher_cache!r}, but {reason.rstrip('.')}. {fix}")
    if not reason and not is_wanted and questions.is_changed:
        reason = "of a vocabulary's logits only the largest would be kept, which changes the losses"
    if not reason and not is_wanted and not reads_again(args, len(questions.datasets[0])):
        reason = "each row is read once"
    if not reason:
        folder = Path(args.teacher_cache).expanduser() if is_wanted else Path(str(args.output_dir), FOLDER)
        try:
            keep_answers(folder, args, teacher, questions, overwrite=not is_wanted)
            return CachedTeacher(folder, verify=False)  # it was verified while it was written
        except NotKeptError as error:
            if is_wanted:
                raise
            reason = str(error)
    logger.info("teacher: runs beside the student, for %s", reason)
    return teacher


def keep_answers(
    folder: Path,
    args: DistillationTrainingArguments,
    teacher: Teacher,
    questions: Questions,
    *,
    overwrite: bool,
    further: Mapping[str, Any] | None = None,
) -> None:
    """Write what is missing of a teacher's answers; called on every process.

    Args:
        folder: of the cache.
        args: of the training.
        teacher: under the names of its own columns.
        questions: what it is asked.
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
    columns = key_columns(questions.task, teacher.columns)
    parts = [_as_teacher_reads(part, columns, questions.prefix) for part in questions.datasets]
    # A cast writes the rows anew, even to the types that they have.
    alike = [part if part.features == parts[0].features else part.cast(parts[0].features) for part in parts]
    rows = concatenate_datasets(alike)
    identity = {
        "teacher": fingerprint,
        "tokenizer": {
            prefix.removeprefix(questions.prefix): tokenizer_fingerprint(own)
            for prefix, own in questions.tokenizers.items()
        },
        **(further or {}),
    }
    temperature = next(iter(questions.temperatures), None) or 1.0
    settings = CacheSettings(args.teacher_cache_dtype, args.teacher_cache_top_k, args.eval_batch_size, temperature)
    writer = CacheWriter(
        folder, rows, questions.collate, questions.task, teacher, questions.request, identity, settings
    )
    writer.write(overwrite=overwrite)
    logger.info("teacher: asked once, every epoch reads its answers from %s (%s)", folder, settings.dtype)
    if questions.is_changed:
        logger.warning(
            "teacher: %s logits a token are kept and %s are not; these hold %.1f%% of its probability at temperature "
            "%g, which the student is taught as if they shared it evenly",
            args.teacher_cache_top_k,
            questions.left_out,
            100 * AnswerStore(folder, verify=False).rest_share(),
            temperature,
        )


def reads_again(args: DistillationTrainingArguments, rows: int) -> bool:
    """Whether a training reads its rows more than once."""
    if args.max_steps <= 0:
        return args.num_train_epochs > 1
    rows_a_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    return args.max_steps * rows_a_step > rows


def left_out(args: DistillationTrainingArguments, task: Task, num_labels: int) -> int:
    """Return how many of a teacher's logits are not kept: those of a vocabulary beyond the largest."""
    return max(num_labels - args.teacher_cache_top_k, 0) if task.classes_are_tokens else 0


def asked_temperatures(args: DistillationTrainingArguments, objective: Objective) -> frozenset[float | None]:
    """Return the temperatures at which a teacher's logits are read, in evaluation too; None = as they are."""
    return objective.teacher_temperatures | ({args.temperature} if args.eval_soft_loss else frozenset())


def teachers_collator(collate: Any, prefix: str) -> Any:
    """Return the part of a collator that makes the teacher's batches."""
    return collate.teachers.get(prefix, collate) if isinstance(collate, AllEncodings) else collate


def _is_fixed(collate: Any) -> bool:
    """Whether a collator is known to make the same of the same rows; a class derived from a known one is not known."""
    if type(collate) is AllEncodings:
        return all(map(_is_fixed, (collate.student, *collate.teachers.values())))
    return collate is default_data_collator or type(collate) in SAME_EVERY_TIME


def _as_teacher_reads(rows: Dataset, columns: tuple[str, ...], prefix: str) -> Dataset:
    """Return the columns that the teacher reads, under the names that it knows."""
    # A collator may need the modality's to make batches.
    wanted = [*columns, *(name for name in (TOKENS.values, TOKENS.mask) if name not in columns)]
    present = [name for name in wanted if prefix + name in rows.column_names]
    own = rows.with_format(None).select_columns([prefix + name for name in present])
    return own.rename_columns({prefix + name: name for name in present}) if prefix else own
