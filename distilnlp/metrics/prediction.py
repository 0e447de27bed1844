"""Running a model over tokenised rows, the way every measurement here does it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError, did_you_mean
from distilnlp.models.running import in_eval_mode
from distilnlp.screen import progress
from distilnlp.signals import TOKENS, Batch, named_inputs, select_inputs

Example = Mapping[str, Any]
Rows = Sequence[Example]
Collator = Callable[[list[Any]], Mapping[str, Tensor]]
Read = Callable[[Any, Batch], Sequence[Any] | NDArray]
Around = Callable[[PreTrainedModel, Batch], AbstractContextManager[Any]]
T = TypeVar("T")


@contextmanager
def evaluation_mode(*models: PreTrainedModel) -> Iterator[None]:
    """Run the body without gradients and dropout, then give each submodule back its own mode."""
    with in_eval_mode(*models), torch.inference_mode():
        yield


def per_model(value: T | Mapping[str, T], models: Iterable[str], what: str) -> dict[str, T]:
    """Return what each model has: its own entry of a mapping, or else the one value that they share.

    Raises:
        DistillationError: a mapping lacks a model.
    """
    if not isinstance(value, Mapping):
        return dict.fromkeys(models, value)
    if missing := [name for name in models if name not in value]:
        raise DistillationError(
            f"expected {what} for each model, but there are none for {missing[0]!r}."
            f"{did_you_mean(missing[0], value)} Name every model in the mapping, or pass what all models share."
        )
    return {name: value[name] for name in models}


def collate_for(
    model: PreTrainedModel, examples: Rows, collator: Collator, columns: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Return the batch of what a model's `forward` names and of further columns, without labels, on its device.

    Raises:
        DistillationError: the collator leaves one of `columns` out.
    """
    names = named_inputs(model)
    # Selected before the collator: it cannot pad texts, nor turn missing labels into tensors.
    rows = [
        {**select_inputs(example, names), **{name: example[name] for name in columns if name in example}}
        for example in examples
    ]
    batch = collator(rows)
    if lost := [name for name in columns if name not in batch]:
        raise DistillationError(
            f"expected a collator that pads the column {lost[0]!r}, but its batch has {sorted(batch)}. Use the "
            "collator of the task."
        )
    return {name: value.to(model.device) for name, value in batch.items()}


def inputs_for(model: PreTrainedModel, batch: Batch) -> dict[str, Tensor]:
    """Return what a model's `forward` names of a batch, without labels."""
    return select_inputs(batch, named_inputs(model))


def predict_rows(
    model: PreTrainedModel, examples: Rows, collator: Collator, read: Read, *, owner: str = "the model", **options: Any
) -> list[Any]:
    """Return what is read of a model's outputs for each row, in the order of the rows; see `predict_batches`.

    Raises:
        DistillationError: there are no rows, or what was read is NaN or infinite.
    """
    predictions: list[Any] = [None] * len(examples)
    for indices, rows in predict_batches(model, examples, collator, read, owner=owner, **options):
        for index, row in zip(indices, rows, strict=True):
            predictions[index] = row
    check_finite(predictions, owner)
    return predictions


def predict_batches(
    model: PreTrainedModel,
    examples: Rows,
    collator: Collator,
    read: Read,
    *,
    columns: Sequence[str] = (),
    batch_size: int = 32,
    owner: str = "the model",
    around: Around = lambda model, batch: nullcontext(),
) -> Iterator[tuple[list[int], Sequence[Any] | NDArray]]:
    """Yield the indices of a batch's rows and what is read of the outputs for them.

    Rows run from the longest to the shortest, so that a batch has little padding and memory runs out at the start.

    Args:
        model: on its own device.
        examples: tokenised and unpadded rows with `input_ids`; labels and columns the model does not name are ignored.
        collator: pads a list of rows into a batch of tensors.
        read: `(outputs, batch) -> ` an array, or a tuple of arrays, for each row of the batch.
        columns: columns that the batch needs beside the inputs of the model.
        batch_size: rows in a batch.
        owner: whose outputs they are, for the progress bar and messages.
        around: what the model runs in.
    """
    if not len(examples):
        raise DistillationError("expected rows to predict, but got none. Check the evaluation split and its filters.")
    order = sorted(range(len(examples)), key=lambda index: -TOKENS.length_of(examples[index]))
    with evaluation_mode(model), progress(f"Evaluating {owner}", len(order)) as bar:
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            batch = collate_for(model, [examples[index] for index in indices], collator, columns)
            with around(model, batch):
                yield indices, read(model(**inputs_for(model, batch)), batch)
            bar.advance(len(indices))


def predict_logits(
    model: PreTrainedModel, examples: Rows, collator: Collator, batch_size: int = 32, owner: str = "the model"
) -> NDArray[np.float32]:
    """Return the logits `[items, classes]` in float32 of a model with one row of logits per example.

    Args, errors: see `predict_rows`.
    """
    logits = np.empty(0, dtype=np.float32)

    def read(outputs: Any, _batch: Batch) -> NDArray:
        return as_array(outputs.logits)

    batches = predict_batches(model, examples, collator, read, batch_size=batch_size, owner=owner)
    for indices, rows in batches:
        if not logits.size:  # filled batch by batch: rows that are stacked at the end take twice the memory
            logits = np.empty((len(examples), *np.shape(rows)[1:]), dtype=np.float32)
        logits[indices] = rows
    check_finite(logits, owner)
    return logits


def as_array(tensor: Tensor) -> NDArray:
    """Return a tensor as an array, float32 if it has a fraction: numpy has no bfloat16."""
    return (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()


def split_rows(chosen: Tensor, mask: Tensor) -> list[NDArray]:
    """Cut what a mask `[batch, positions]` chose, `[chosen, ...]`, into an array for each row of the batch."""
    ends = as_array(mask.sum(dim=-1)).cumsum()
    return np.split(as_array(chosen), ends[:-1])


def check_finite(logits: Sequence[Any] | NDArray, owner: str = "the model under evaluation") -> None:
    """Refuse rows, arrays or tuples of them, that are NaN or infinite: their argmax would silently be some class.

    Raises:
        DistillationError: naming the owner and the first such row.
    """
    parts_of = (row if isinstance(row, tuple) else (row,) for row in logits)
    broken = [index for index, parts in enumerate(parts_of) if not all(np.isfinite(part).all() for part in parts)]
    if broken:
        raise DistillationError(
            f"expected finite logits, but {owner} gave NaN or infinite ones for {len(broken)} of {len(logits)} rows, "
            f"first for row {broken[0]}. Evaluate it in float32 if it runs in half precision; otherwise its training "
            "diverged: take an earlier checkpoint."
        )
