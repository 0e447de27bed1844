"""Narrower students: fewer attention heads, fewer feed-forward neurons, a smaller hidden size.

Whole heads and whole neurons are kept, the most important of each layer. The hidden states, which all layers share, go
through one projection: their principal components (as in SliceGPT, arXiv 2401.15024), turned within their subspace
towards coordinates of the teacher, because norms and activations work coordinate by coordinate. The layers that read
what was cut are then fitted to the sample, as in channel pruning (arXiv 1707.06168): see `distilnlp.students.fitting`.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.losses.reduction import at_least_float32
from distilnlp.models.families import Family, find_family, find_narrowable
from distilnlp.models.running import in_eval_mode
from distilnlp.signals import Batch, token_mask
from distilnlp.students.blueprint import Blueprint
from distilnlp.students.fitting import cut_weight, fit_weights
from distilnlp.students.folding import fold_embeddings
from distilnlp.students.importance import HOW_TO_SAMPLE, batches_for, head_importance, neuron_importance, run_model

SAME_AS_HIDDEN_SIZE = ("embedding_size", "pooler_hidden_size")  # config entries, of ELECTRA and DeBERTa
NEGLIGIBLE = 1e-12  # of the largest: below it is rounding


@dataclass(frozen=True)
class Width:
    """The sizes of a model that can be cut. A head's width never changes."""

    hidden_size: int
    num_attention_heads: int
    intermediate_size: int

    @property
    def head_size(self) -> int:
        """Coordinates of one head."""
        return self.hidden_size // self.num_attention_heads


# ---- What is asked ----


def width_of(config: PreTrainedConfig) -> Width:
    """Read the width of a model of a supported family from its config."""
    neurons = getattr(config, find_family(config.model_type).ffn_size)
    return Width(config.hidden_size, config.num_attention_heads, neurons)


def choose_width(
    own: Width, hidden_size: int | None, num_attention_heads: int | None, intermediate_size: int | None
) -> Width:
    """Complete the student's width: what is not given is the teacher's, or follows from what is."""
    heads = num_attention_heads
    if hidden_size is not None:
        possible = range(own.head_size, own.hidden_size + 1, own.head_size)
        if hidden_size not in possible:
            raise DistillationError(
                f"hidden_size must be a multiple of {own.head_size}, the width of the teacher's heads, which are never "
                f"cut through, and at most the teacher's {own.hidden_size}; got {hidden_size}. "
                f"Choose one of {', '.join(map(str, possible))}."
            )
        heads = hidden_size // own.head_size if heads is None else heads
    heads = own.num_attention_heads if heads is None else heads
    _check_size("num_attention_heads", heads, own.num_attention_heads)
    if hidden_size is not None and hidden_size != heads * own.head_size:
        raise DistillationError(
            f"hidden_size must be num_attention_heads · {own.head_size}: a head stays as wide as the teacher's; "
            f"got hidden_size={hidden_size} and num_attention_heads={heads}. Give hidden_size={heads * own.head_size} "
            f"or num_attention_heads={hidden_size // own.head_size}, or leave one of them out."
        )
    neurons = own.intermediate_size if intermediate_size is None else intermediate_size
    _check_size("intermediate_size", neurons, own.intermediate_size)
    return Width(heads * own.head_size, heads, neurons)


def _check_size(name: str, size: int, largest: int) -> None:
    if not 1 <= size <= largest:
        raise DistillationError(
            f"{name} must be between 1 and the teacher's {largest}; got {size}. Choose a number in that range."
        )


# ---- The cut ----


def narrow(blueprint: Blueprint, teacher: PreTrainedModel, width: Width, sample: Sequence[Batch] | None) -> Blueprint:
    """Cut the blueprint of a full copy of the teacher down to a width; unless it is the teacher's, by a sample."""
    own = width_of(blueprint.config)
    if width == own:
        return blueprint
    find_narrowable(blueprint.config.model_type)
    config = _narrow_config(blueprint.config, own, width)
    shapes = _shapes(blueprint, config)
    # Which heads and neurons stay, the weights tell: without any, the shapes are all that is left.
    if teacher.device.type == "meta":
        projection = torch.empty(own.hidden_size, width.hidden_size, device="meta")
        folding = fold_embeddings(teacher, blueprint, shapes, projection)
        weights: Mapping[str, Tensor] = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    else:
        if sample is None:
            raise DistillationError(
                f"A narrower student needs a sample of text, to tell what can be cut; got none. {HOW_TO_SAMPLE}"
            )
        with in_eval_mode(teacher), torch.no_grad():
            kept = _choose_kept(teacher, own, width, sample)
            folding = fold_embeddings(teacher, blueprint, shapes, kept.projection)
            cuts = {**_plan(blueprint, own, shapes, kept), **folding.cuts}
            fitted = fit_weights(teacher, cuts, sample, folding.fits)
        whole = {name: weight for name, weight in blueprint.weights.items() if name not in folding.dropped}
        cut = {name: cut_weight(whole[name], cut) for name, cut in cuts.items() if name not in fitted}
        weights = {**whole, **cut, **fitted}
    if folding.cuts:
        config.tie_word_embeddings = False  # a masked LM reads its tokens off the tables that the teacher has
    return replace(blueprint, config=config, weights=weights)


def _narrow_config(config: PreTrainedConfig, own: Width, width: Width) -> PreTrainedConfig:
    config = copy.deepcopy(config)
    for name in SAME_AS_HIDDEN_SIZE:
        if getattr(config, name, None) == own.hidden_size:
            setattr(config, name, width.hidden_size)
    sizes = asdict(width)
    sizes[find_family(config.model_type).ffn_size] = sizes.pop("intermediate_size")
    for name, size in sizes.items():
        setattr(config, name, size)
    return config


def _shapes(blueprint: Blueprint, config: PreTrainedConfig) -> dict[str, torch.Size]:
    """Return the shape of each weight under another config, without computing or storing any."""
    with torch.device("meta"):
        model = blueprint.model_class(copy.deepcopy(config))
    return {name: weight.shape for name, weight in model.state_dict().items()}


# ---- What is kept ----


@dataclass(frozen=True)
class Selection:
    """What the student has of the teacher; indices ascend.

    Attributes:
        projection: of the hidden states, `[old, new]`, with orthonormal columns.
        heads: `[layers, new]`.
        neurons: `[layers, new]`.
    """

    projection: Tensor
    heads: Tensor
    neurons: Tensor


def _choose_kept(teacher: PreTrainedModel, own: Width, width: Width, sample: Sequence[Batch]) -> Selection:
    layers = teacher.config.num_hidden_layers
    projection = torch.eye(own.hidden_size, dtype=torch.float64)
    heads = torch.arange(own.num_attention_heads).expand(layers, -1)
    neurons = torch.arange(own.intermediate_size).expand(layers, -1)
    if width.hidden_size < own.hidden_size:
        projection = fit_projection(_second_moments(teacher, sample), width.hidden_size)
        importance = head_importance(teacher, sample)
        if find_family(teacher.config.model_type).head_tables:  # shared by all layers: so must be the heads
            importance = importance.sum(dim=0).expand(layers, -1)
        heads = _most_important(importance, width.num_attention_heads)
    if width.intermediate_size < own.intermediate_size:
        neurons = _most_important(neuron_importance(teacher, sample), width.intermediate_size)
    return Selection(projection, heads, neurons)


def _most_important(importance: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` largest values of each row, in ascending order."""
    return importance.argsort(dim=-1, descending=True, stable=True)[:, :count].sort(dim=-1).values


def _second_moments(teacher: PreTrainedModel, sample: Sequence[Batch]) -> Tensor:
    """Return Σ x xᵀ over the hidden states of all layers, each scaled to length 1: `[hidden size, hidden size]`."""
    moments = torch.zeros(())
    for batch in batches_for(teacher, sample):
        mask = token_mask(batch)
        for state in run_model(teacher, batch, output_hidden_states=True).hidden_states:
            rows = F.normalize(at_least_float32(state[mask]), dim=-1)
            moments = moments.to(rows) + rows.T @ rows
    return moments


def fit_projection(moments: Tensor, size: int) -> Tensor:
    """Fit the projection of the hidden states: principal components, turned towards coordinates.

    No projection to this size loses less of the states' squares. Of all bases of the components' subspace it is the
    one nearest to the unit vectors of the `size` coordinates that tell the others best (orthogonal Procrustes).

    Args:
        moments: `[old, old]`, Σ x xᵀ of the states, not centred: a constant part must be kept like any other.
        size: of the projected states.

    Returns:
        `[old, size]`, float64, with orthonormal columns.
    """
    moments = moments.detach().cpu().double()
    components = torch.linalg.eigh(moments).eigenvectors[:, -size:]
    left, _, right = torch.linalg.svd(components[_telling_coordinates(moments, size)].T)
    return components @ left @ right


def _telling_coordinates(moments: Tensor, count: int) -> Tensor:
    """Choose coordinates that tell the others by linear regression, in ascending order.

    One after the other, each is the one that those before it tell worst: Cholesky decomposition with pivots.
    """
    unexplained = moments.clone()
    floor = (NEGLIGIBLE * unexplained.diagonal().max()).clamp_min(NEGLIGIBLE**2)
    chosen = torch.zeros(len(unexplained), dtype=torch.bool)
    for _ in range(count):
        pivot = unexplained.diagonal().masked_fill(chosen, -torch.inf).argmax()
        column = unexplained[:, pivot] / unexplained[pivot, pivot].clamp_min(floor).sqrt()
        unexplained -= torch.outer(column, column)
        chosen[pivot] = True
    return chosen.nonzero().squeeze(-1)


# ---- Which axis of which weight ----


def _plan(
    blueprint: Blueprint, own: Width, shapes: Mapping[str, torch.Size], kept: Selection
) -> dict[str, dict[int, Tensor]]:
    """Return what becomes of every axis that changes, by the name of the weight.

    An axis changes where the narrower model has another shape; it is one of hidden states unless the family says else.
    """
    axes = _unit_axes(find_family(blueprint.config.model_type), blueprint.base_prefix, own, kept)
    cuts: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for name, weight in blueprint.weights.items():
        module = name.rpartition(".")[0]
        for axis, (old, new) in enumerate(zip(weight.shape, shapes.get(name, weight.shape), strict=False)):
            if old != new:
                units, full = axes.get((module, axis), (None, own.hidden_size))
                if old % full if units is not None else old != full:
                    raise DistillationError(
                        "Every axis of the teacher that is to be cut must have the length that its config says; "
                        f"{name} has an axis of {old}, not {full}. Keep the teacher's width, or choose another teacher."
                    )
                if units is None:
                    cuts[name][axis] = kept.projection
                else:  # once for each block of a fused axis: queries, keys and values, or input and gate
                    cuts[name][axis] = torch.cat([units + start for start in range(0, old, full)])
    return cuts


def _unit_axes(family: Family, prefix: str, own: Width, kept: Selection) -> dict[tuple[str, int], tuple[Tensor, int]]:
    """Return for the axes of heads and neurons, by module and axis, the kept entries and how many there were."""
    axes: dict[tuple[str, int], tuple[Tensor, int]] = {}
    for layer, (heads, neurons) in enumerate(zip(kept.heads, kept.neurons, strict=True)):
        inside = f"{prefix}{family.layers}.{layer}."
        columns = (heads.unsqueeze(-1) * own.head_size + torch.arange(own.head_size)).flatten()
        for name in (*family.qkv, *family.position_projections):
            axes[inside + name, 0] = columns, own.hidden_size
        axes[inside + family.attention_output, 1] = columns, own.hidden_size
        assert family.ffn is not None  # or nothing would be cut
        for name in (family.ffn[0], *family.ffn_gates):
            axes[inside + name, 0] = neurons, own.intermediate_size
        axes[inside + family.ffn[1], 1] = neurons, own.intermediate_size
    for name in family.head_tables:
        axes[prefix + name, 1] = kept.heads[0], own.num_attention_heads
    return axes
