"""A model run on shapes alone: what it does and gives, without values, their memory or their time."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch._subclasses.fake_tensor import FakeTensorMode  # where torch documents it
from transformers import PreTrainedModel

from distilnlp.models.families import FAMILIES
from distilnlp.signals import named_inputs

LENGTH = 21  # of the text that tells what a model gives: not a multiple of what architectures pad or pool to
IN_CHUNKS = ("reformer",)  # it pads its hidden states to whole chunks, and trains on texts of whole chunks alone

_TOLD: dict[tuple[type, str], tuple[int, int]] = {}  # by class and config: to tell takes as long as some training steps


@contextmanager
def on_shapes(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Yield a copy of a model in eval mode whose tensors have no values; those made in the block have none either.

    The model stays as it is; its weights may be random, or absent. The forward pass of an architecture that decides by
    values what it computes raises, each in its own way.
    """
    shapes_only = FakeTensorMode()
    tensors = chain(model.parameters(), model.buffers())
    with shapes_only:
        twins = {id(tensor): torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in tensors}
    skeleton = copy.deepcopy(model, twins)  # takes what the memo has, and so never copies a weight
    skeleton.set_attn_implementation("eager")  # what fused kernels do is not all known
    with torch.no_grad(), shapes_only:
        yield skeleton.eval()


def hidden_states_of(model: PreTrainedModel) -> tuple[int, int]:
    """Return how many hidden states a model gives, embeddings included, and their width.

    Both are 0 where it does not give one hidden state of each token from every layer, all of one width: where a decoder
    stands behind the encoder, or tokens are pooled. Where shapes alone cannot tell, the config is believed.
    """
    config = model.config
    if config.model_type in IN_CHUNKS:
        return 0, 0
    said = getattr(config, "num_hidden_layers", -1) + 1, getattr(config, "hidden_size", 0)
    if config.model_type in FAMILIES:
        return said
    known_as = type(model), config.to_json_string(use_diff=False)
    if known_as not in _TOLD:
        try:
            _TOLD[known_as] = _by_shapes(model)
        except Exception:  # what a pass without values can raise has no common kind
            _TOLD[known_as] = said
    return _TOLD[known_as]


def _by_shapes(model: PreTrainedModel) -> tuple[int, int]:
    names = named_inputs(model.base_model) & {"input_ids", "attention_mask", "decoder_input_ids"}
    with on_shapes(model) as skeleton:
        inputs = dict.fromkeys(names, torch.ones((1, LENGTH), dtype=torch.long))
        outputs = skeleton.base_model(**inputs, output_hidden_states=True, return_dict=True)
    states = outputs.get("hidden_states") or ()
    shape = (1, LENGTH, outputs[0].shape[-1])
    return (len(states), shape[-1]) if states and all(state.shape == shape for state in states) else (0, 0)


def longest_readable(model: PreTrainedModel) -> int | None:
    """Return how many tokens a model has positions for; None where it has no limit, as T5 and XLNet."""
    stated = getattr(model.config, "max_position_embeddings", None)
    limits = [stated] if stated and stated > 0 else []
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and hasattr(module, "weight"):
            limits.append(module.weight.shape[0] - unused_positions(module))
    return min(limits, default=None)


def unused_positions(embeddings: object) -> int:
    """Return how many of the first position embeddings hold no token: RoBERTa counts from the padding id."""
    padding = getattr(embeddings, "padding_idx", None)
    return 0 if padding is None else padding + 1
