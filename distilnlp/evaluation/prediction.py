"""Running a model over tokenised rows, the way every measurement here does it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.signals import named_inputs, select_inputs

Example = Mapping[str, Any]
Collator = Callable[[list[Any]], Mapping[str, Tensor]]


@contextmanager
def evaluation_mode(*models: PreTrainedModel) -> Iterator[None]:
    """Run the body without gradients and dropout, then give each submodule back its own mode."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def collate_for(model: PreTrainedModel, examples: Sequence[Example], collator: Collator) -> dict[str, Tensor]:
    """Return the batch that a model's `forward` names, without labels, on the model's device."""
    names = named_inputs(model)
    # Selected before the collator too: it cannot pad texts, nor turn missing labels into tensors.
    batch = collator([select_inputs(example, names) for example in examples])
    return {name: value.to(model.device) for name, value in select_inputs(batch, names).items()}


def predict_logits(
    model: PreTrainedModel,
    examples: Sequence[Example],
    collator: Collator,
    batch_size: int = 32,
    description: str = "Predicting",
) -> NDArray[np.float32]:
    """Return a model's logits for tokenised rows, in the order of the rows.

    Rows run from the longest to the shortest, so that a batch has little padding and memory runs out at the start.

    Args:
        model: a model with one row of logits per example, on its own device.
        examples: tokenised and unpadded rows with `input_ids`; labels and columns the model does not name are ignored.
        collator: pads a list of rows into a batch of tensors.
        batch_size: rows in a batch.
        description: text of the progress bar.

    Returns:
        Logits `[items, classes]` in float32.

    Raises:
        DistillationError: there are no rows.
    """
    if not len(examples):
        raise DistillationError("expected rows to predict, but got none. Check the evaluation split and its filters.")
    order = np.argsort([-len(example["input_ids"]) for example in examples], kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    parts = []
    with evaluation_mode(model):
        for indices in tqdm(batches, desc=description, leave=False):
            inputs = collate_for(model, [examples[int(index)] for index in indices], collator)
            parts.append(model(**inputs).logits.float().cpu().numpy())
    sorted_logits = np.concatenate(parts)
    logits = np.empty_like(sorted_logits)
    logits[order] = sorted_logits
    return logits
