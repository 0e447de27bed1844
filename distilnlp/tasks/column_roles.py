"""What the columns of a file most likely are: the texts, the labels, and the task that both are for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from datasets import ClassLabel, Dataset

from distilnlp.data import LISTS, LabelColumn, is_empty, is_text, is_text_list, spread, values_of
from distilnlp.data.source_columns import LIKELY_LABELS, with_usual_names
from distilnlp.errors import DistillationError, shown
from distilnlp.signals import CONTEXT, QUESTION, TEXT
from distilnlp.tasks.multi_label.forms import binary_columns, is_targets
from distilnlp.tasks.multi_label.head import MULTI_LABEL_CLASSIFICATION
from distilnlp.tasks.multiple_choice.head import MULTIPLE_CHOICE
from distilnlp.tasks.multiple_choice.rows import USUAL_CHOICES, numbered_choices
from distilnlp.tasks.question_answering.head import QUESTION_ANSWERING
from distilnlp.tasks.regression.head import REGRESSION
from distilnlp.tasks.single_label.head import SINGLE_LABEL_CLASSIFICATION
from distilnlp.tasks.token_classification.head import TOKEN_CLASSIFICATION
from distilnlp.tasks.token_classification.rows import USUAL_WORDS
from distilnlp.tasks.token_classification.spans import find_spans, text_of_spans

SAMPLE = 1000  # rows, spread over the file
TEXTS = (TEXT, "sentence", "content", "body", "document", "review", "comment", "message", "headline", "title")
PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("query", "document"),
    ("query", "passage"),
)
TWO_WORDS = re.compile(r"[^\W\d_]+\s+[^\W\d_]+")
FEW_WORDS = 4  # a label, not a text
MOST_LABELS = 100


@dataclass(frozen=True)
class ColumnRoles:
    """What each column is taken for.

    Attributes:
        task: its name.
        texts: text columns, as `data.text_columns`.
        label: label column; None = there is none.
        choices: multiple choice: the columns of the choices.
        others: further columns that look like text, which nothing reads.
    """

    task: str
    texts: tuple[str, ...]
    label: str | None
    choices: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def find_roles(
    dataset: Dataset, task: str | None = None, texts: Sequence[str] = (), label: str | None = None
) -> ColumnRoles:
    """Tell by names, types and a sample of the rows what the columns are.

    Args:
        dataset: rows of a source, one an example.
        task: its name; None = what the columns are for.
        texts, label: what is known already.

    Raises:
        DistillationError: a column that is named is not there, or nothing looks like text.
    """
    dataset = with_usual_names(dataset, ())
    known = dataset.column_names
    for name in [*texts, *([label] if label else [])]:
        if name not in known:
            raise DistillationError(f"there is no column {name!r}: the columns of the data are {shown(known)}.")
    sample = spread(dataset, SAMPLE)
    label = label or find_spans(dataset, None) or _find_label(sample, texts)
    task = task or _find_task(dataset, sample, label)
    choices = _find_choices(sample, label) if task == MULTIPLE_CHOICE.name else ()
    found = _texts_by_length(sample, {label, *choices})
    chosen = tuple(texts) or _choose_texts(sample, task, found, label)
    if not chosen:
        raise DistillationError(
            f"no column looks like text for {task}: the data has {shown(dataset.features, 300)}. Name the text column "
            "with --text-column, or give another file."
        )
    return ColumnRoles(task, chosen, label, choices, tuple(name for name in found if name not in chosen))


# ---- Labels and task ----


def _find_label(sample: Dataset, texts: Sequence[str]) -> str | None:
    """Return the column with a usual name, or the only one that holds few different short texts."""
    by_name = {name.lower(): name for name in sample.column_names if name not in texts}
    usual = next((by_name[name] for name in LIKELY_LABELS if name in by_name), None)
    if usual:
        return usual
    choices = numbered_choices(sample)
    short = [
        name
        for name, feature in sample.features.items()
        if name not in texts and name.lower() not in TEXTS and name not in choices
        if isinstance(feature, ClassLabel) or (is_text(feature) and _are_few(sample, name))
    ]
    return short[0] if len(short) == 1 else None


def _are_few(sample: Dataset, name: str) -> bool:
    values = _filled(sample, name)
    different = set(values)
    is_short = all(len(value.split()) <= FEW_WORDS for value in different)
    return is_short and 2 <= len(different) <= min(MOST_LABELS, len(values) / 2)


def _find_task(dataset: Dataset, sample: Dataset, label: str | None) -> str:
    features = sample.features
    if {QUESTION, CONTEXT} <= {name.lower() for name, feature in features.items() if is_text(feature)}:
        return QUESTION_ANSWERING.name
    if _find_choices(sample, label) and not (label and isinstance(features[label], LISTS)):
        return MULTIPLE_CHOICE.name
    has_spans = label is not None and find_spans(dataset, label) is not None
    if has_spans or (_words(sample, label) and (label is None or isinstance(features[label], LISTS))):
        return TOKEN_CLASSIFICATION.name
    if label is None and len(binary_columns(sample)) > 1:
        return MULTI_LABEL_CLASSIFICATION.name
    if label is None or is_empty(features[label]):
        return SINGLE_LABEL_CLASSIFICATION.name
    if isinstance(features[label], LISTS) or is_targets(features[label]):
        return MULTI_LABEL_CLASSIFICATION.name
    return SINGLE_LABEL_CLASSIFICATION.name if _are_classes(LabelColumn(dataset, label)) else REGRESSION.name


def _are_classes(column: LabelColumn) -> bool:
    """Whether labels are names or the ids 0, 1, … without a gap, and not numbers on a scale."""
    numbers = [value for value in column.labels if isinstance(value, int | float) and value == value]
    is_number = bool(numbers) and not isinstance(numbers[0], bool) and column.names is None
    return not is_number or sorted(numbers) == list(range(len(numbers)))


# ---- Texts ----


def _find_choices(sample: Dataset, label: str | None) -> tuple[str, ...]:
    """Return the columns of numbered choices, or the one with lists of them."""
    numbered = numbered_choices(sample, [label])
    return (
        numbered
        or tuple(name for name in USUAL_CHOICES if name != label and is_text_list(sample.features.get(name)))[:1]
    )


def _words(sample: Dataset, label: str | None) -> list[str]:
    """Return the columns that hold lists of words, the usual one first."""
    lists = [name for name, feature in sample.features.items() if name != label and is_text_list(feature)]
    return sorted(lists, key=lambda name: name not in USUAL_WORDS)


def _texts_by_length(sample: Dataset, taken: set[str | None]) -> list[str]:
    """Return the columns that hold running text, the longest first; ids, dates, links and categories are none."""
    lengths: dict[str, float] = {}
    for name, feature in sample.features.items():
        if name in taken or not is_text(feature):
            continue
        values = _filled(sample, name)
        running = sum(bool(TWO_WORDS.search(value)) or not value.isascii() for value in values)
        if values and (name.lower() == TEXT or running >= len(values) / 2):
            lengths[name] = sum(map(len, values)) / len(values)
    return sorted(lengths, key=lengths.__getitem__, reverse=True)


def _choose_texts(sample: Dataset, task: str, found: list[str], label: str | None) -> tuple[str, ...]:
    by_name = {name.lower(): name for name, feature in sample.features.items() if is_text(feature)}
    if task == QUESTION_ANSWERING.name:
        return tuple(by_name[name] for name in (QUESTION, CONTEXT)) if {QUESTION, CONTEXT} <= set(by_name) else ()
    if task == TOKEN_CLASSIFICATION.name and (words := _words(sample, label)):
        return (words[0],)
    if task == TOKEN_CLASSIFICATION.name and find_spans(sample, label):
        return (text_of_spans(sample),)
    for pair in PAIRS if task != TOKEN_CLASSIFICATION.name else ():
        if all(by_name.get(name) in found for name in pair):
            return tuple(by_name[name] for name in pair)
    usual = [by_name[name] for name in TEXTS if by_name.get(name) in found]
    return tuple((usual or found)[:1])


def _filled(sample: Dataset, name: str) -> list[str]:
    return [value for (value,) in values_of(sample, name) if value and not value.isspace()]
