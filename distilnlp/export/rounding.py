"""A model that computes as its graph in int8 will, for training: it rounds forwards, as if it did not backwards.

Quantization-aware training (arXiv 1712.05877) with the straight-through estimator (arXiv 1308.3432), in the roundings
of ONNX Runtime's dynamic int8: weights of products by output channel around zero; tables of embeddings, and the
activations of a whole batch, between their extremes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from distilnlp.export.runtimes import LAYER

INT8, UINT8 = 127, 255  # the largest numbers


def rounded_weight(weight: Tensor) -> Tensor:
    """Return a weight `[outputs, inputs]` as int8 keeps it, with a scale for each output."""
    scale = weight.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny) / INT8
    return _straight_through(weight, (weight / scale).round().clamp(-INT8, INT8) * scale)


def rounded_values(values: Tensor) -> Tensor:
    """Return activations, or a table, as unsigned int8 keeps them, between their extremes and zero."""
    low, high = values.amin().clamp_max(0), values.amax().clamp_min(0)
    scale = (high - low).clamp_min(torch.finfo(values.dtype).tiny) / UINT8
    zero = (-low / scale).round()
    return _straight_through(values, (((values / scale).round() + zero).clamp(0, UINT8) - zero) * scale)


def _straight_through(values: Tensor, rounded: Tensor) -> Tensor:
    """Return what is rounded, with the gradient of what is not."""
    return values + (rounded - values).detach()


@contextmanager
def rounded(model: PreTrainedModel) -> Iterator[None]:
    """Let the layers and the embeddings of a model round, in the block; its head, which stays in fp32, does not.

    The weights themselves are not rounded: what is saved is a model like any other.
    """
    modules = [module for name, module in model.named_modules() if _is_rounded(name, module)]
    for module in modules:
        module.forward = partial(_linear if isinstance(module, nn.Linear) else _embedding, module)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def _is_rounded(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) or (isinstance(module, nn.Linear) and LAYER.search(name) is not None)


def _linear(module: nn.Linear, values: Tensor) -> Tensor:
    return functional.linear(rounded_values(values), rounded_weight(module.weight), module.bias)


def _embedding(module: nn.Embedding, ids: Tensor) -> Tensor:
    return functional.embedding(ids, rounded_values(module.weight), module.padding_idx)
