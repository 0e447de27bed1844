"""Attention over a teacher's layers: what a student's layer is compared with, learned while training."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from distilnlp.losses.feature import comparable
from distilnlp.losses.relation import pooled


def attended_layers(student: Tensor, teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mix a teacher's layers by how much a student's layer attends to each: its target under ALP-KD.

    ALP-KD (arXiv 2012.14022): the weights of a text are the softmax of the inner products between the student's state
    and each of the teacher's, here the means over the text's tokens, divided by √width. The gradient flows through the
    weights to the student, not to the teacher.

    Args:
        student: `[batch, length, width]`.
        teacher: the layers to mix, each `[batch, length, width]`.
        mask: bool `[batch, length]`, True for real tokens.

    Returns:
        `[batch, length, width]`, zero where nothing counts.
    """
    layers = torch.stack([comparable(student, layer, mask)[1] for layer in teacher], dim=1)
    queries = pooled(student, mask)
    keys = torch.stack([pooled(layer, mask) for layer in layers.unbind(dim=1)], dim=1)
    energies = (keys @ queries.unsqueeze(-1)).squeeze(-1) / math.sqrt(queries.shape[-1])
    return torch.einsum("bn,bnlw->blw", energies.softmax(dim=-1), layers)
