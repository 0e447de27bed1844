"""Tiny models and tokenised rows of every task, and what counts in the rows; made in memory, as in `tests.tiny`."""

import math
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.signals import NO_LABEL, SignalRequest, Signals, named_inputs
from distilnlp.tasks import TASKS
from distilnlp.tasks.forward import forward
from tests.conftest import NO_DROPOUT
from tests.tiny import SHAPE, TOPICS, tiny_config, tiny_tokenizer

Row = dict[str, Any]
CLS, SEP, MASK, FIRST_WORD = 2, 3, 4, 5
TAGS = ("O", "PERSON", "PLACE", "THING")
LABEL_NAMES: dict[str, tuple[str, ...]] = {
    "single_label_classification": TOPICS,
    "multi_label_classification": TOPICS,
    "regression": ("score",),
    "token_classification": TAGS,
    "question_answering": ("LABEL_0", "LABEL_1"),
    "multiple_choice": ("LABEL_0", "LABEL_1"),
    "masked_lm": ("LABEL_0", "LABEL_1"),
}
FAMILY_OPTIONS = {
    "deberta-v2": {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {"dropout": 0.0, "attention_dropout": 0.0},
}
OPINION = 0.3  # spread of the random weights: the usual 0.02 gives almost uniform logits, which would hide mistakes


# ---- Models ----


def task_model(
    task: str, family: str = "bert", seed: int = 0, labels: tuple[str, ...] | None = None, **shape: Any
) -> PreTrainedModel:
    """A tiny model of a task, without dropout, with random weights and strong opinions."""
    options = {**NO_DROPOUT, **FAMILY_OPTIONS.get(family, {}), **shape}
    config = tiny_config(family, labels or LABEL_NAMES[task], **options)
    config.problem_type = TASKS[task].problem_type
    torch.manual_seed(seed)
    model = TASKS[task].auto_class.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * OPINION)
    return model.eval()


def task_teacher(task: str, family: str = "bert", **shape: Any) -> PreTrainedModel:
    return task_model(task, family, **shape)


def task_student(task: str, family: str = "bert", **shape: Any) -> PreTrainedModel:
    """Smaller and narrower than the teacher."""
    return task_model(task, family, **{"seed": 1, "num_hidden_layers": 2, "hidden_size": 8, **shape})


def signals_of(model: PreTrainedModel, task: str, batch: dict[str, Tensor]) -> Signals:
    return forward(model, TASKS[task], batch, named_inputs(model), SignalRequest())[0]


# ---- Rows ----


def task_rows(task: str, labelled: int = 3, unlabelled: int = 5, seed: int = 0) -> list[Row]:
    """Tokenised ragged rows: first those with labels, then those without."""
    rng = Random(seed)
    numbers = [*range(labelled), *[None] * unlabelled]
    rows = [ROWS[task](rng, number) for number in numbers]
    return [{**row, "length": _length(row)} for row in rows]


def task_data(task: str, labelled: int = 3, unlabelled: int = 5, seed: int = 0) -> Dataset:
    return Dataset.from_list(task_rows(task, labelled, unlabelled, seed))


def collated(task: str, rows: list[Row]) -> dict[str, Tensor]:
    """A batch as the trainer makes it."""
    return TASKS[task].collator(tiny_tokenizer())(rows)


def _length(row: Row) -> int:
    ids = row["input_ids"]
    return max(map(len, ids)) if isinstance(ids[0], list) else len(ids)


def _words(rng: Random, fewest: int, most: int) -> list[int]:
    return [rng.randrange(FIRST_WORD, SHAPE["vocab_size"]) for _ in range(rng.randint(fewest, most))]


def _inputs(first: list[int], second: list[int] | None = None) -> Row:
    """One text, or a pair, with its special tokens."""
    segments = [[CLS, *first, SEP], [] if second is None else [*second, SEP]]
    ids = [token for segment in segments for token in segment]
    types = [number for number, segment in enumerate(segments) for _ in segment]
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}


# Each takes the number of a labelled row, or None for a row without a label.


def _single_label(rng: Random, number: int | None) -> Row:
    return {**_inputs(_words(rng, 1, 9)), "label": NO_LABEL if number is None else rng.randrange(len(TOPICS))}


def _multi_label(rng: Random, number: int | None) -> Row:
    label = [math.nan if number is None else float(rng.random() < 0.5) for _ in TOPICS]
    if number == 1:
        label[0] = math.nan  # a decision that is not known
    return {**_inputs(_words(rng, 1, 9)), "label": label}


def _regression(rng: Random, number: int | None) -> Row:
    return {**_inputs(_words(rng, 1, 9)), "label": math.nan if number is None else rng.randrange(-8, 8) / 4}


def _tagged(rng: Random, number: int | None) -> Row:
    inputs = _inputs(_words(rng, 2, 9))
    starts = [0, 1, *[int(rng.random() < 0.6) for _ in inputs["input_ids"][3:]], 0]
    tags = [rng.randrange(len(TAGS)) if start and number is not None else NO_LABEL for start in starts]
    return {**inputs, "word_starts": starts, "label": tags}


def _window(rng: Random, number: int | None) -> Row:
    question, context = _words(rng, 1, 3), _words(rng, 2, 7)
    first = len(question) + 2
    start = rng.randrange(len(context))
    start, end = first + start, first + rng.randrange(start, len(context))
    if number is None:
        start = end = NO_LABEL
    elif number == 2:
        start = end = 0  # the answer lies in another window
    inside = [int(first <= index < first + len(context)) for index in range(first + len(context) + 1)]
    return {**_inputs(question, context), "context_mask": inside, "start_positions": start, "end_positions": end}


def _choices(rng: Random, number: int | None) -> Row:
    prompt, count = _words(rng, 1, 3), rng.choice([2, 3, 4])
    texts = [_inputs(prompt, _words(rng, 1, 5)) for _ in range(count)]
    inputs = {name: [text[name] for text in texts] for name in texts[0]}
    return {**inputs, "label": NO_LABEL if number is None else rng.randrange(count)}


def _masked(rng: Random, number: int | None) -> Row:
    """Masked already, so that every run sees the same; a row without labels has no masked token."""
    inputs = _inputs(_words(rng, 2, 9))
    ids = inputs["input_ids"]
    chosen = {rng.randrange(1, len(ids) - 1) for _ in range(3)} if number is not None else set()
    labels = [token if index in chosen else NO_LABEL for index, token in enumerate(ids)]
    return {**inputs, "input_ids": [MASK if index in chosen else token for index, token in enumerate(ids)]} | {
        "labels": labels
    }


ROWS: dict[str, Callable[[Random, int | None], Row]] = {
    "single_label_classification": _single_label,
    "multi_label_classification": _multi_label,
    "regression": _regression,
    "token_classification": _tagged,
    "question_answering": _window,
    "multiple_choice": _choices,
    "masked_lm": _masked,
}


# ---- What counts, once more from the rows, in loops ----


def counting_items(task: str, row: Row, soft: bool) -> list[bool]:
    """Which of a row's items the hard or the soft loss counts; masked tokens alone are items of masked LM."""
    if task == "token_classification":
        starts, tags = row["word_starts"], row["label"]
        return [bool(start) and (soft or tag != NO_LABEL) for start, tag in zip(starts, tags, strict=True)]
    if task == "masked_lm":
        return [label != NO_LABEL for label in row["labels"]]
    if task == "question_answering":
        return [soft or row["start_positions"] != NO_LABEL] * 2
    if task == "multi_label_classification":
        return [soft or not math.isnan(value) for value in row["label"]]
    return [soft or not (math.isnan(row["label"]) or row["label"] == NO_LABEL)]


def counting_classes(task: str, row: Row, soft: bool) -> list[bool] | None:
    """Which positions or choices the items of a row choose from; None = all classes."""
    if task == "multiple_choice":
        return [True] * len(row["input_ids"])
    if task == "question_answering":
        return [bool(inside) for inside in row["context_mask"]] if soft else [True] * len(row["input_ids"])
    return None


def counting_outputs(task: str, rows: list[Row], outputs: dict[str, Tensor], soft: bool) -> dict[str, Tensor]:
    """Bool tensors like a model's outputs, True where the loss may look."""
    masks = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in outputs.items()}
    for mask in masks.values():
        for index, row in enumerate(rows):
            items, classes = counting_items(task, row, soft), counting_classes(task, row, soft)
            if classes is not None:
                mask[index, : len(classes)] = torch.tensor(classes) & items[0]
            elif mask.dim() == 3:
                mask[index, : len(items)] = torch.tensor(items).unsqueeze(-1)
            else:
                mask[index] = torch.tensor(items)
    return masks


def random_outputs(task: str, batch: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """What a model might give for a batch, float64."""
    generator = torch.Generator().manual_seed(seed)
    rows, *inner = batch["input_ids"].shape
    shape = {
        "token_classification": (rows, *inner, len(TAGS)),
        "question_answering": (rows, *inner),
        "multiple_choice": (rows, inner[0]),
        "masked_lm": (rows, *inner, SHAPE["vocab_size"]),
        "regression": (rows, 1),
    }.get(task, (rows, len(TOPICS)))
    names = ["start_logits", "end_logits"] if task == "question_answering" else ["logits"]
    return {name: 2 * torch.randn(shape, dtype=torch.float64, generator=generator) for name in names}
