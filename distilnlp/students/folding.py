"""A student as wide as its teacher's embeddings: the layer that widens them has no place in it.

ELECTRA and DeBERTa have a linear layer between embeddings and hidden states only where the sizes differ. Where the
student's are the same, that layer and the projection of the hidden states go into the embedding tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.models.families import find_family
from distilnlp.students.blueprint import Blueprint
from distilnlp.students.fitting import Cut, Fit, NormFit, shorten


@dataclass(frozen=True)
class Folding:
    """What becomes of the embeddings; nothing, where a student keeps the layer behind them or there is none.

    Attributes:
        cuts: of the tables, by the name of the weight.
        fits: of the norm between the tables and the layer, by its path.
        dropped: weights of the layer.
    """

    cuts: Mapping[str, Cut] = field(default_factory=dict)
    fits: Mapping[str, Fit] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()


def fold_embeddings(
    teacher: PreTrainedModel, blueprint: Blueprint, shapes: Mapping[str, torch.Size], projection: Tensor
) -> Folding:
    """Fold the layer behind the embeddings into their tables, if the student has none.

    Where the norm comes behind the layer, this is exact. Where it comes before, it divides by what the tables give it:
    its mean and gain go into the tables too, and gain and bias are fitted anew to what left the layer. The blueprint is
    that of a full copy of the teacher, the shapes are those of the student's weights, and the projection `[old, new]`
    is that of the hidden states.
    """
    path = f"{blueprint.base_prefix}{find_family(teacher.config.model_type).embedding_projection}"
    if f"{path}.weight" not in blueprint.weights or f"{path}.weight" in shapes:
        return Folding()
    layer: nn.Linear = teacher.get_submodule(path)  # type: ignore[assignment]
    embeddings = f"{blueprint.base_prefix}embeddings"
    norm: nn.LayerNorm = teacher.get_submodule(f"{embeddings}.LayerNorm")  # type: ignore[assignment]
    folded = shorten(layer.weight.double(), 0, projection).T  # [embedding size, new]
    fits: dict[str, Fit] = {}
    if norm.normalized_shape == (layer.in_features,):
        scaled = norm.weight.double().unsqueeze(-1) * folded
        folded = scaled - scaled.mean(dim=0)  # the norm takes the mean off its input before it scales

        def leaving(rows: Tensor) -> Tensor:  # what the student's hidden states should be, `[tokens, new]`
            return shorten(layer(rows.to(layer.weight.dtype)).to(rows), -1, projection)

        fits[f"{embeddings}.LayerNorm"] = NormFit(norm, partial(shorten, axis=-1, kept=folded), leaving)
    tables = [name for name, module in teacher.named_modules() if isinstance(module, nn.Embedding)]
    cuts = {f"{name}.weight": {1: folded} for name in tables if name.startswith(f"{embeddings}.")}
    return Folding(cuts, fits, frozenset({f"{path}.weight", f"{path}.bias"}))
