"""Rows of a prompt and choices, one of which is right."""

import math
import re
import string
from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise
from typing import Any, ClassVar

from datasets import Dataset, List, Value
from transformers import PreTrainedTokenizerBase

from distilnlp.data import (
    Columns,
    DataConfig,
    LabelColumn,
    Layout,
    Part,
    RowFormat,
    Types,
    candidates,
    find_text_columns,
    is_text,
    is_text_list,
    map_in_parts,
    require_column,
    with_written_values,
)
from distilnlp.errors import DistillationError, shown
from distilnlp.signals import CHOICES, LABEL, NO_LABEL, TEXT, TEXT_PAIR

USUAL_CHOICES = (CHOICES, "endings", "options")
CHOICE = re.compile(r"(ending|choice|option|answer)[ _]?(\d+|[a-h])", re.IGNORECASE)
LETTERS = string.ascii_uppercase
LABEL_TYPES = ("int", "uint", "float", "string", "large_string", "null")
HOW_TO_WRITE = "Give the number of the right choice, counted from 0, or its letter, A for the first, or its text."


class ChoiceRows(RowFormat):
    """Normalised: `text`, perhaps `text_pair`, which every choice begins with, `choices`, and `label`, -100 = none.

    Tokenised: the inputs of a model as one list a choice, each choice read as the second text of a pair; `length` is
    that of the longest.
    """

    task = "multiple choice"
    inputs = (TEXT, TEXT_PAIR, CHOICES)
    features: ClassVar[Types] = {
        TEXT: Value("string"),
        TEXT_PAIR: Value("string"),
        CHOICES: List(Value("string")),
        LABEL: Value("int64"),
    }
    label_checks = (
        *RowFormat.label_checks,
        (
            lambda feature: not isinstance(feature, Value) or feature.dtype.startswith(LABEL_TYPES),
            f"holds %s, which names no choice. {HOW_TO_WRITE}",
        ),
    )
    own_keys = frozenset({"choice_columns"})
    usual_labels = (LABEL, "answer")

    def unfold(self, dataset: Dataset, config: DataConfig, names: Sequence[str]) -> Dataset:
        """Return rows with the lists of choices that a column may hold as text."""
        for name in USUAL_CHOICES if config.choice_columns is None else config.choice_columns[:1]:
            if name in dataset.column_names and is_text(dataset.features[name]):
                dataset = with_written_values(dataset, name)
        return dataset

    def find_layout(self, dataset: Dataset, config: DataConfig, label: str) -> Layout:
        choices = config.choice_columns
        if choices is None:
            taken = [label, *(config.text_columns or [])]
            choices = list(numbered_choices(dataset, taken)) or candidates(dataset, is_text_list, USUAL_CHOICES, taken)
            if len(choices) == 0 or (len(choices) > 1 and not is_text(dataset.features[choices[0]])):
                raise DistillationError(
                    f"expected one column of lists of choices, but the data has {shown(dataset.features, 300)}. Name "
                    "the columns of the choices in data.choice_columns, such as [ending0, ending1]."
                )
        texts = find_text_columns(dataset, config.text_columns, label, choices)
        layout = Layout(texts, label, tuple(choices))
        super().check_layout(dataset, layout)
        return layout

    def check_layout(self, dataset: Dataset, layout: Layout) -> None:
        super().check_layout(dataset, layout)
        for name in layout.choices:
            require_column(dataset, name, "data.choice_columns")
            if name in (layout.label, *layout.texts):
                raise DistillationError(f"column {name!r} cannot be a choice and something else too.")
            if not (is_text_list if len(layout.choices) == 1 else is_text)(dataset.features[name]):
                raise DistillationError(
                    f"choice column {name!r} must hold {'lists of texts' if len(layout.choices) == 1 else 'text'}, but "
                    f"it holds {shown(dataset.features[name])}. Set data.choice_columns to one text column a choice."
                )

    def read_inputs(self, part: Part, layout: Layout) -> Columns:
        columns = [part.rows[name][:] for name in layout.choices]
        rows = columns[0] if len(columns) == 1 else zip(*columns, strict=True)
        choices = [_choices(values, row) for row, values in enumerate(rows, part.first)]
        return {**super().read_inputs(part, layout), CHOICES: choices}

    def read_labels(self, part: Part, layout: Layout, inputs: Columns, survey: None) -> Columns:
        if layout.label not in part.rows.column_names:
            return {LABEL: [NO_LABEL] * len(part.rows)}
        column = LabelColumn(part.rows, layout.label)
        rows = zip(part.numbered(layout.label), inputs[CHOICES], strict=True)
        return {LABEL: [_label(value, choices, column, row) for (row, value), choices in rows]}

    def encode(
        self,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        desc: str,
        *,
        config: DataConfig,
        for_evaluation: bool = False,
    ) -> Dataset:
        """Tokenise; the prompt is cut first, a choice only where it fills `max_length` by itself."""

        def encode(batch: Columns) -> Columns:
            encoded = _encode_pairs(*_pairs(batch), tokenizer, max_length)
            ends = list(accumulate(map(len, batch[CHOICES]), initial=0))
            columns = {name: [own[start:end] for start, end in pairwise(ends)] for name, own in encoded.items()}
            return {**columns, "length": [max(map(len, row)) for row in columns["input_ids"]]}

        texts = [name for name in self.inputs if name in rows.column_names]
        return map_in_parts(rows, encode, remove_columns=texts, desc=desc)


def numbered_choices(dataset: Dataset, taken: Collection[str | None] = ()) -> tuple[str, ...]:
    """Return the columns of numbered choices, such as `ending0`, `ending1` or `A`, `B`, in order; none if few are."""
    texts = [name for name, feature in dataset.features.items() if name not in taken and is_text(feature)]
    numbered = tuple(sorted(name for name in texts if CHOICE.fullmatch(name)))
    letters = tuple(sorted(name for name in texts if len(name) == 1 and name.upper() in LETTERS))
    are_first = "".join(letters).upper() == LETTERS[: len(letters)]
    found = numbered if len(numbered) > 1 else letters if are_first else ()
    return found if len(found) > 1 else ()


def _choices(values: Sequence[str | None] | None, row: int) -> list[str]:
    """Return a row's choices. Blank ones at its end stand for nothing: rows may have fewer choices than others."""
    choices = [(value or "").strip() for value in values or ()]
    while choices and not choices[-1]:
        choices.pop()
    if len(choices) < 2 or not all(choices):
        raise DistillationError(
            f"every row needs two choices or more, none of them blank, but row {row} (counted from 0) has "
            f"{shown(choices)}. Correct it, or leave the row out."
        )
    return choices


def _label(value: Any, choices: Sequence[str], column: LabelColumn, row: int) -> int:
    if value in column.hidden or value != value:  # NaN stands for an empty cell
        return NO_LABEL
    value = column.names[value] if column.names is not None else value
    index, said = _index(value), f"row {row} (counted from 0) has {len(choices)} choices, and label column "
    is_place = index is not None and 0 <= index < len(choices)
    places = [place for place, choice in enumerate(choices) if choice == str(value).strip()]
    if (is_place and places and places != [index]) or len(places) > 1:
        raise DistillationError(
            f"{said}{column.name!r} says {shown(value)}, which may be a place or the text of a choice: "
            f"{shown(list(choices))}. {HOW_TO_WRITE}"
        )
    if not is_place and not places:
        raise DistillationError(f"{said}{column.name!r} says {shown(value)}. {HOW_TO_WRITE}")
    return places[0] if places else index  # type: ignore[return-value]  # one of both


def _index(value: Any) -> int | None:
    """Return the number that a value means: an integer, digits, or a letter."""
    if not isinstance(value, str):
        return int(value) if math.isfinite(value) and value == int(value) else None
    value = value.strip()
    if value.isdecimal():
        return int(value)
    is_letter = len(value) == 1 and value.isascii() and value.isalpha()
    return LETTERS.index(value.upper()) if is_letter else None


def _pairs(batch: Columns) -> tuple[list[str], list[str]]:
    """Return the prompt and the choice of each choice of each row, one after the other."""
    firsts, seconds = [], []
    beginnings = batch.get(TEXT_PAIR) or [None] * len(batch[TEXT])
    for prompt, beginning, choices in zip(batch[TEXT], beginnings, batch[CHOICES], strict=True):
        firsts += [prompt] * len(choices)
        seconds += [choice if beginning is None else f"{beginning} {choice}" for choice in choices]
    return firsts, seconds


def _encode_pairs(
    firsts: list[str], seconds: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Columns:
    """Tokenise pairs. A first text is cut down to one token; if that is not enough, the longer text is cut."""
    lengths = [len(ids) for ids in tokenizer(seconds, add_special_tokens=False)["input_ids"]]
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True) - 1
    encoded: Columns = {}
    for truncation in ("only_first", "longest_first"):
        pairs = [i for i, length in enumerate(lengths) if (length <= room) == (truncation == "only_first")]
        if not pairs:
            continue
        some = tokenizer(
            [firsts[i] for i in pairs], [seconds[i] for i in pairs], truncation=truncation, max_length=max_length
        )
        for name, values in some.items():
            column = encoded.setdefault(name, [None] * len(firsts))
            for i, ids in zip(pairs, values, strict=True):
                column[i] = ids
    return encoded


CHOICE_ROWS = ChoiceRows()
