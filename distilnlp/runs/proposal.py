"""A first recipe for a teacher and a data set: what `distilnlp init` proposes, and why."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import AutoConfig, AutoTokenizer

from distilnlp.data import DataConfig, LabelColumn, load_source, prepare_data, spread, values_of
from distilnlp.data.config import USUAL_SPLITS
from distilnlp.data.source_columns import with_usual_names
from distilnlp.errors import DistillationError, UnreachableError, shown
from distilnlp.models.loading import load_pretrained
from distilnlp.models.shapes import longest_readable
from distilnlp.recipe.commented import Entry, commented_yaml
from distilnlp.recipe.defaults import DISTILL_DEFAULTS
from distilnlp.recipe.sections import Recipe
from distilnlp.recipe.text import recipe_values
from distilnlp.runs.models import saved_head, shape_of_new_head
from distilnlp.signals import label_names_of
from distilnlp.tasks import MASKED_LM, MULTI_LABEL_CLASSIFICATION, QUESTION_ANSWERING, TASKS, Task, task_named
from distilnlp.tasks.column_roles import ColumnRoles, find_roles
from distilnlp.tasks.multi_label.forms import binary_columns
from distilnlp.tasks.question_answering.squad import ANSWERS, flatten_squad, with_answers
from distilnlp.validation import parse_section

logger = logging.getLogger(__name__)

SAMPLE_TEXTS = 1000
TOKENS_A_WORD = 1.3  # of English, about; used where no tokenizer is at hand
WHOLE_SHARE = 99  # percent of the texts that max_length leaves whole
STEP = 8  # tokens: lengths are rounded up to a multiple
SHORTEST, LONGEST = 16, 512
WINDOW = 384  # tokens of a window of question answering
STRIDE = DataConfig.model_fields["stride"].default


@dataclass(frozen=True)
class Wishes:
    """What is known before the data is looked at; None or nothing = to be proposed.

    Attributes:
        teacher: local folder or Hub id.
        source: where the rows are, as `data.source`.
        output: folder of the run.
        config: configuration of a Hub data set.
        task: its name.
        texts, label: columns.
    """

    teacher: str
    source: str
    output: str
    config: str | None = None
    task: str | None = None
    texts: tuple[str, ...] = ()
    label: str | None = None


@dataclass(frozen=True)
class TeacherKind:
    """What a teacher's config tells.

    Attributes:
        config: None where the model is not on this machine and the Hub does not give it.
        task: of its trained head; None = it is a bare encoder, or unknown.
    """

    config: Any = None
    task: Task | None = None

    @property
    def is_bare(self) -> bool:
        """Whether it must be fine-tuned first."""
        return self.config is not None and self.task is None


@dataclass(frozen=True)
class Proposal:
    """What a source and a teacher look like, and the recipe for both."""

    wishes: Wishes
    teacher: TeacherKind
    split: str
    rows: Dataset = field(repr=False)  # of the training split, one an example
    roles: ColumnRoles

    @property
    def task(self) -> Task:
        """The task."""
        return task_named(self.roles.task)

    @property
    def is_finetuned(self) -> bool:
        """Whether the teacher is fine-tuned first: it is bare, or its head is for another task."""
        return self.teacher.config is not None and self.teacher.task is not self.task and self.task is not MASKED_LM

    @cached_property
    def labelled(self) -> int:
        """How many training rows have a label."""
        label = self.roles.label
        if self._binary_columns:
            return len(self.rows)
        if label is None or not self.task.rows.needs_labels:
            return 0
        hidden = LabelColumn(self.rows, label).hidden
        empty = sum(_is_empty(value, hidden) for (value,) in values_of(self.rows, label))
        return len(self.rows) - empty

    # ---- Lengths ----

    @cached_property
    def max_length(self) -> tuple[int, str]:
        """Where texts are cut, in tokens, and why there."""
        tokenizer = _tokenizer(self.wishes.teacher) if self.teacher.config is not None else None
        limit = LONGEST
        if tokenizer is not None:
            shape = shape_of_new_head(self.wishes.teacher, self.task, ("0", "1"))  # whatever they are
            limit = min(LONGEST, longest_readable(shape) or LONGEST, tokenizer.model_max_length)
        if self.task is QUESTION_ANSWERING:
            return min(WINDOW, limit), "contexts are read in windows of so many tokens"
        texts = list(self._texts())
        if tokenizer is None:
            lengths = [math.ceil(TOKENS_A_WORD * len(text.split())) + 3 for text in texts]
            how = f"words x {TOKENS_A_WORD}, for the teacher's tokenizer is not on this machine"
        else:
            lengths = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=LONGEST + 1)["input_ids"]]
            how = "by the teacher's tokenizer"
        middle, most = (int(np.percentile(lengths, share, method="higher")) for share in (50, WHOLE_SHARE))
        length = min(max(SHORTEST, STEP * math.ceil(most / STEP)), limit)
        longest = f"more than {LONGEST}" if most > LONGEST else str(most)
        return length, (
            f"texts are cut after so many tokens; of {len(texts)} texts half have at most {middle} tokens, and "
            f"{WHOLE_SHARE}% at most {longest} ({how})"
        )

    def _texts(self) -> Iterator[str]:
        """Yield what a model reads of some rows, a pair or a prompt with its longest choice as one."""
        names = [*self.roles.texts, *self.roles.choices]
        count = len(self.roles.texts)
        for row in values_of(spread(self.rows, SAMPLE_TEXTS), *names):
            own = [value if isinstance(value, str) else " ".join(value or ()) for value in row[:count]]
            choices = [text for value in row[count:] for text in ([value] if isinstance(value, str) else value or ())]
            yield " ".join([*own, max(choices, key=lambda text: len(text or ""), default="") or ""])

    # ---- The recipe ----

    def entries(self) -> list[Entry]:
        """Return the keys of the recipe, each with why it is so."""
        return [*self._top(), *self._teacher(), *self._student(), *self._data(), *self._training()]

    def recipe_text(self) -> str:
        """Return the recipe as commented YAML."""
        head = [
            f"Distils {shown(self.wishes.teacher)} on {shown(self.wishes.source)}. Proposed from {len(self.rows):,} "
            "training rows: read it, change what you know better.",
            "Keys that are commented out stand at their defaults. All keys: docs/recipes.md.",
        ]
        return commented_yaml(head, self.entries())

    def check(self) -> None:
        """Check the recipe, and the data by it, as a run does.

        Raises:
            DistillationError: something does not fit.
        """
        values = {entry.key: entry.value for entry in self.entries() if entry.is_set}
        recipe = parse_section(Recipe, recipe_values(None, values))
        is_finished = self.teacher.task is self.task
        names = label_names_of(self.teacher.config) if is_finished and self.task.has_label_names else None
        if is_finished and self.task.has_label_names and names is None:
            config = self.teacher.config
            names = tuple(config.id2label[index] for index in range(config.num_labels))
        prepare_data(recipe.data, self.task.rows, names, may_be_unlabelled=is_finished)

    def _top(self) -> Iterable[Entry]:
        yield Entry("output", self.wishes.output, "everything that the run makes lies in this folder")
        why = "what is distilled, as the columns look"
        if self.teacher.task is self.task:
            why = "what is distilled: what the teacher's head is for"
        elif self.wishes.task:
            why = "what is distilled, as asked"
        yield Entry("task", self.task.name, why)

    def _teacher(self) -> Iterable[Entry]:
        yield Entry(
            "teacher.model", self.wishes.teacher, "the model that the student learns from, a folder or a Hub id"
        )
        if self.is_finetuned:
            yield Entry(
                "teacher.finetune", True, "it has no trained head for this task: it is fine-tuned on the labels"
            )
        elif self.teacher.config is None:
            why = "its config is not on this machine; set this if it is a bare encoder, to fine-tune it first"
            yield Entry("teacher.finetune", True, why, is_set=False)

    def _student(self) -> Iterable[Entry]:
        layers = getattr(self.teacher.config, "num_hidden_layers", None)
        half = max(1, layers // 2) if layers else 3
        why = f"its depth; left out, half of the teacher's {layers or ''} layers".replace("  ", " ")
        yield Entry("student.num_layers", half, why, is_set=False)
        yield Entry("student.trim_vocabulary", False, "true keeps only the pieces the texts need", is_set=False)

    def _data(self) -> Iterable[Entry]:
        roles, needs_labels = self.roles, self.task.rows.needs_labels
        yield Entry("data.source", self.wishes.source, f"{len(self.rows):,} training rows")
        if self.wishes.config:
            yield Entry("data.config", self.wishes.config, "configuration of the data set")
        if self.split != "train":
            yield Entry("data.train_split", self.split, "the split to train on")
        others = f"; {shown(list(roles.others))} look like text too, and are not read" if roles.others else ""
        yield Entry("data.text_columns", list(roles.texts), f"what the models read{others}")
        if roles.choices:
            yield (
                Entry("data.choice_columns", list(roles.choices), "the choices")
                if len(roles.choices) > 1
                else Entry("data.choice_columns", list(roles.choices), "the column of lists of choices", is_set=False)
            )
        if roles.label is not None and needs_labels:
            yield Entry("data.label_column", roles.label, self._about_labels())
        if self._binary_columns:
            yield Entry("data.label_names", self._binary_columns, "columns of 0 and 1: each of them is a label")
        names = self._numbered_names()
        if names:
            yield Entry("data.label_names", names, "the rows hold one 0 or 1 a label: give the labels their names")
        length, why = self.max_length
        yield Entry("data.max_length", length, why)
        if self.task is QUESTION_ANSWERING:
            stride, usual = min(STRIDE, length // 8), length // 3 >= STRIDE
            about = "tokens that neighbouring windows share"
            yield Entry("data.stride", STRIDE if usual else stride, about, is_set=not usual)
        yield Entry("data.test_size", 0.2, "share of the labelled rows held out, where there is no test split", False)
        yield Entry("data.unlabelled", [], "further files of text without labels, that the teacher labels", False)

    def _about_labels(self) -> str:
        without = len(self.rows) - self.labelled
        if not without:
            return "the labels; every row has one"
        return (
            f"the labels; {without:,} of {len(self.rows):,} rows have none: of these the student learns the teacher's "
            "answers alone"
        )

    @cached_property
    def _binary_columns(self) -> list[str]:
        """The columns of 0 and 1 that are a label each."""
        is_so = self.task is MULTI_LABEL_CLASSIFICATION and self.roles.label is None
        return binary_columns(self.rows, self.roles.texts) if is_so else []

    def _numbered_names(self) -> list[str]:
        """Return numbers as names for 0/1 targets of a teacher that is yet to learn their names."""
        label = self.roles.label
        if self.task is not MULTI_LABEL_CLASSIFICATION or label is None or not self.is_finetuned:
            return []
        column = LabelColumn(self.rows, label)
        widths = {len(value) for (value,) in values_of(self.rows, label) if value is not None}
        are_targets = column.names is None and not column.is_text and column.labels <= {0, 1} and len(widths) == 1
        return [str(index) for index in range(widths.pop())] if are_targets else []

    def _training(self) -> Iterable[Entry]:
        defaults = {
            "num_train_epochs": "times that the student reads the training rows",
            "learning_rate": "of the student",
            "per_device_train_batch_size": "rows of a step on each device",
        }
        for name, why in defaults.items():
            yield Entry(f"training.{name}", DISTILL_DEFAULTS[name], why, is_set=False)
        if self.labelled:
            why = "also train the same student on the labels alone, to see what the teacher adds"
            yield Entry("baseline", True, why)
        yield Entry("seed", 0, "seed of every stage", is_set=False)


def propose(wishes: Wishes, seen: Proposal | None = None) -> Proposal:
    """Look at a teacher and its data, and propose a recipe; `check` it before it is written.

    Args:
        wishes: what is known before.
        seen: an earlier proposal for the same teacher and data, which are then not looked at again.

    Raises:
        DistillationError: either cannot be read, nothing looks like text, or there are no labels to fine-tune on.
    """
    teacher = _look_at(wishes.teacher) if seen is None else seen.teacher
    task = wishes.task or (teacher.task.name if teacher.task else None)
    if task is not None:
        task_named(task)
    if seen is None:
        loaded = load_source(wishes.source, wishes.config)
        split = _training_split(loaded)
        rows = with_answers(flatten_squad(loaded[split]), ANSWERS)
    else:
        split, rows = seen.split, seen.rows
    roles = find_roles(rows, task, wishes.texts, wishes.label)
    proposal = Proposal(wishes, teacher, split, with_usual_names(rows, roles.texts), roles)
    if not proposal.task.rows.needs_labels:
        return replace(proposal, roles=replace(proposal.roles, label=None))
    if proposal.is_finetuned and not proposal.labelled:
        raise DistillationError(
            f"{shown(wishes.teacher)} is to be fine-tuned for {proposal.task.name}, but no row has a label in "
            f"{shown(proposal.roles.label)}: the columns are {shown(rows.column_names)}. Name the label column with "
            "--label-column, or give a fine-tuned teacher."
        )
    return proposal


def _look_at(teacher: str) -> TeacherKind:
    try:
        config: Any = load_pretrained(AutoConfig, teacher)
    except UnreachableError:
        logger.warning("%s is not on this machine and the Hub does not give it: it is taken to be fine-tuned", teacher)
        return TeacherKind()
    heads = (task for task in TASKS.values() if saved_head(config, task) and task.fits(config))
    return TeacherKind(config, next((task for task in heads if not task.must_be_named), None))


def _tokenizer(teacher: str) -> Any:
    try:
        return load_pretrained(AutoTokenizer, teacher)
    except DistillationError:  # a run says what is wrong with it
        return None


def _training_split(loaded: DatasetDict) -> str:
    names = [name for name in loaded if name not in (*USUAL_SPLITS["test"], *USUAL_SPLITS["validation"])]
    if "train" in names or len(names) == 1:
        return "train" if "train" in names else str(names[0])
    raise DistillationError(
        f"the data has the splits {shown(list(loaded))}, and none is called train. Rename the one to train on."
    )


def _is_empty(value: Any, hidden: set[Any]) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return False
    if isinstance(value, dict):
        return value.get("text") is None  # an empty list says that there is no answer
    return value in hidden or value != value
