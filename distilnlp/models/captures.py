"""Captures: what is inside chosen layers (attention, neurons), read by hooks that leave the model as it is."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.losses import QueryKeyValue
from distilnlp.models.families import FAMILIES, Family, num_neurons

logger = logging.getLogger(__name__)

ROW_SUM_TOLERANCE = 0.01  # rounding in bf16 stays below 0.004; dropout at p scales a row by up to 1 / (1 - p)


@dataclass(frozen=True)
class Captures:
    """What the chosen layers gave in the last forward pass, by hidden-state index (the first layer's is 1).

    Attributes:
        attentions: probabilities `[batch, heads, length, length]`; the last dimension is over the keys and sums to 1.
        qkv: queries, keys and values, each `[batch, heads, length, head_dim]`; where positions rotate queries and keys,
            before the rotation.
        pre_activations: `[batch, length, neurons]`, what the activation of the feed-forward network reads.
    """

    attentions: dict[int, Tensor] = field(default_factory=dict)
    qkv: dict[int, QueryKeyValue] = field(default_factory=dict)
    pre_activations: dict[int, Tensor] = field(default_factory=dict)


def check_capturable(model_type: str | None, *, needs_plain_scores: bool = False) -> Family:
    """Return the family of a model whose layers can be captured.

    Args:
        model_type: the family as the model's config calls it; None for anything but a transformers model.
        needs_plain_scores: a loss computes the attention scores as q·k/√d itself, which is the model's own attention
            only where no positions enter the scores.

    Raises:
        DistillationError: the family is unknown, or has other scores.
    """
    able = [name for name, own in FAMILIES.items() if own.qkv and (own.scores_are_qk or not needs_plain_scores)]
    if model_type is None or model_type not in FAMILIES or not FAMILIES[model_type].qkv:
        raise DistillationError(
            "queries, keys, values, attention maps and pre-activations can be captured from the families "
            f"{', '.join(able)}; got {model_type!r}. Use a model of one of them, or a loss on logits or on "
            "hidden states."
        )
    if model_type not in able:
        raise DistillationError(
            f"a loss that computes attention as the softmax of q·k/√d needs a family whose scores are just that: "
            f"{', '.join(able)}; in {model_type!r} positions enter the scores too. Use a loss on the attention maps, "
            "or on relations among queries, among keys and among values."
        )
    return FAMILIES[model_type]


def bare_model(model: nn.Module) -> PreTrainedModel:
    """Return the transformers model inside what wraps it for parallel training or compilation."""
    inner = extract_model_from_parallel(model, keep_torch_compile=False)
    if not isinstance(inner, PreTrainedModel):
        raise DistillationError(
            f"expected a transformers model, but got {type(inner).__name__}. Pass the model itself."
        )
    return inner


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return a model's layers from the embeddings' side, whatever its head; layer i gives hidden state i + 1."""
    inner = bare_model(model)
    return list(inner.base_model.get_submodule(check_capturable(inner.config.model_type).layers).children())


# ---- Capturing ----


@contextmanager
def capturing(
    model: nn.Module,
    attentions: Collection[int] = (),
    qkv: Collection[int] = (),
    pre_activations: Collection[int] = (),
) -> Iterator[Captures]:
    """Record chosen layers during the forward passes inside the block; the last pass wins.

    Gradients flow through what is captured, also where activations are checkpointed (not re-entrant) and under
    autocast. Only what was asked for is held, and after the block not by the model. Attention maps need eager
    attention without dropout on the maps: enter `eager_attention` around the block, best around the whole run.

    Args:
        model: a model of a supported family with any head, in eval or train mode; DDP may wrap it. Where nothing is
            wanted, any model.
        attentions: hidden-state indices of the layers whose attention maps are wanted.
        qkv: hidden-state indices of the layers whose queries, keys and values are wanted.
        pre_activations: hidden-state indices of the layers whose neurons are wanted.

    Yields:
        The captures, filled by the forward pass.

    Raises:
        DistillationError: the family is unknown or an index out of range; in the forward pass, an attention gives no
            map, checkpointing is re-entrant or `DataParallel` splits the batch; at the end of the block, rows of a
            map do not sum to 1 or a layer did not run.
    """
    captures = Captures()
    wanted = {"attentions": {*attentions}, "qkv": {*qkv}, "pre_activations": {*pre_activations}}
    with ExitStack() as hooks:
        if any(wanted.values()):  # else any model will do
            _set_hooks(hooks, captures, bare_model(model), **wanted)
        yield captures
        _check_captures(captures, wanted)


def _set_hooks(
    hooks: ExitStack,
    captures: Captures,
    model: PreTrainedModel,
    attentions: set[int],
    qkv: set[int],
    pre_activations: set[int],
) -> None:
    family, layers = check_capturable(model.config.model_type), layers_of(model)
    for index in sorted(attentions | qkv | pre_activations):
        if not 1 <= index <= len(layers):
            raise DistillationError(
                f"layers are captured by hidden-state index, between 1 (the first layer's) and {len(layers)} (the "
                f"last one's); got {index}{', the embeddings, which have no attention' if index == 0 else ''}."
            )
    for index in sorted(attentions):
        attention = layers[index - 1].get_submodule(family.attention)
        if "output_attentions" in signature(attention.forward).parameters:
            hooks.enter_context(attention.register_forward_pre_hook(_ask_for_map, with_kwargs=True))
        _LayerPass([family.attention], partial(_keep_map, captures.attentions, index)).follow(layers[index - 1], hooks)
    for index in sorted(qkv):
        put = partial(_keep_qkv, captures.qkv, index, model.config.num_attention_heads)
        _LayerPass(family.qkv, put).follow(layers[index - 1], hooks)
    chunk = getattr(model.config, "chunk_size_feed_forward", 0)
    if pre_activations and chunk:
        raise DistillationError(
            "pre-activations are captured where a layer's feed-forward network runs once, but this model's config has "
            f"chunk_size_feed_forward: {chunk}. Set it to 0."
        )
    for index in sorted(pre_activations):
        neurons = partial(_keep_neurons, captures.pre_activations, index, num_neurons(model.config))
        _LayerPass([family.activation_input], neurons).follow(layers[index - 1], hooks)


def _ask_for_map(attention: nn.Module, args: Any, kwargs: Any) -> tuple[tuple[object, ...], dict[str, object]]:
    """Make an attention that gives its map on request alone give it to its caller, which drops it."""
    call = signature(attention.forward).bind(*args, **kwargs)
    call.arguments["output_attentions"] = True
    return call.args, call.kwargs


class _LayerPass:
    """Keeps outputs of modules inside a layer while a forward pass is in the layer.

    A module's first output counts: an attention may use a projection again for its position embeddings. Between the
    passes nothing is kept: a checkpointed layer runs its modules once more in the backward pass, but not its own hooks.
    """

    def __init__(self, paths: Sequence[str], put: Callable[[list[Any]], None]) -> None:
        self._paths, self._put = paths, put
        self._outputs: dict[str, Any] | None = None
        self._has_grad = False

    def follow(self, layer: nn.Module, hooks: ExitStack) -> None:
        """Hand the outputs to `put` each time that the layer is through, as long as the hooks are there."""
        hooks.enter_context(layer.register_forward_pre_hook(self._start))
        for path in self._paths:
            hooks.enter_context(layer.get_submodule(path).register_forward_hook(partial(self._keep, path)))
        hooks.enter_context(layer.register_forward_hook(self._finish))

    def _start(self, layer: nn.Module, _args: object) -> None:
        if getattr(layer, "_is_replica", False):
            raise DistillationError(
                "attention maps, queries, keys and values cannot be captured under DataParallel, which splits the "
                "batch within one process. Launch one process a GPU: `accelerate launch` or `torchrun`."
            )
        self._outputs, self._has_grad = {}, torch.is_grad_enabled()

    def _keep(self, path: str, _module: nn.Module, _args: object, output: object) -> None:
        if self._outputs is None:
            return
        if self._has_grad and not torch.is_grad_enabled():
            raise DistillationError(
                "re-entrant activation checkpointing runs the layers without gradient, so that a loss on their "
                'insides would train nothing. Set activation_checkpointing_kwargs={"use_reentrant": False}.'
            )
        self._outputs.setdefault(path, output)

    def _finish(self, _layer: nn.Module, _args: object, _output: object) -> None:
        outputs, self._outputs = self._outputs or {}, None
        if len(outputs) == len(self._paths):  # a compiled layer runs past the hooks inside it
            self._put([outputs[path] for path in self._paths])


def _keep_map(attentions: dict[int, Tensor], index: int, outputs: list[Any]) -> None:
    attention_map = outputs[0][1]
    if attention_map is None or attention_map.dim() != 4 or attention_map.shape[-1] != attention_map.shape[-2]:
        raise DistillationError(
            f"expected an attention map [batch, heads, length, length] from the layer of hidden state {index}, but "
            f"its attention gave {'none' if attention_map is None else list(attention_map.shape)}: only eager "
            "attention gives maps. Run the model inside `eager_attention(model)`, or load it with "
            'attn_implementation="eager".'
        )
    attentions[index] = attention_map


def _keep_qkv(qkv: dict[int, QueryKeyValue], index: int, heads: int, outputs: list[Tensor]) -> None:
    parts = outputs if len(outputs) == 3 else outputs[0].chunk(3, dim=-1)
    qkv[index] = QueryKeyValue(*(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts))


def _keep_neurons(pre_activations: dict[int, Tensor], index: int, size: int, outputs: list[Tensor]) -> None:
    pre_activations[index] = outputs[0][..., :size]  # a gate may be computed beside them


def _check_captures(captures: Captures, wanted: Mapping[str, set[int]]) -> None:
    """Refuse missing captures, and maps whose rows do not sum to 1. A NaN is the model's own and shows in the loss."""
    absent = sorted(set().union(*(layers - getattr(captures, kind).keys() for kind, layers in wanted.items())))
    if absent:
        raise DistillationError(
            f"nothing was captured for the hidden states {absent}: no forward pass of the model ran in the block, or "
            "it ran compiled, past the hooks. Run the model inside the block, without torch.compile."
        )
    sums = [attention_map.detach().sum(dim=-1, dtype=torch.float32) for attention_map in captures.attentions.values()]
    if not sums:
        return
    worst = torch.stack([(sum_of_rows - 1).abs().amax() for sum_of_rows in sums]).amax().item()  # waits once
    if worst > ROW_SUM_TOLERANCE:
        raise DistillationError(
            f"rows of the attention maps of the hidden states {sorted(captures.attentions)} must sum to 1, but they "
            f"are off by up to {worst:.3g}: eager maps are given after dropout. Run the model inside "
            "`eager_attention(model)`, which switches the maps' dropout off."
        )


# ---- Eager attention ----


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Let a model give attention maps that a loss can use: eager attention, and no dropout on the maps.

    Eager attention gives its map after dropout, and a loss would compare what dropout left. All other dropout stays.
    Both are put back at the end of the block. Enter it once around a run, not at each step: what changes is logged, and
    the backward pass must lie inside too, because a checkpointed layer runs once more there and must do the same.

    Args:
        model: a model of a supported family with any head; DDP may wrap it.

    Raises:
        DistillationError: the family is unknown.
    """
    inner = bare_model(model)
    path = check_capturable(inner.config.model_type).attention
    implementation = inner.config._attn_implementation
    dropouts = [_map_dropout(layer.get_submodule(path)) for layer in layers_of(inner)]
    probabilities = [getattr(*dropout) for dropout in dropouts]
    changes = []
    if implementation != "eager":
        changes.append(f"attention is eager instead of {implementation}, which is slower and takes more memory")
    if max(probabilities):
        changes.append(f"attention maps have no dropout (instead of p={max(probabilities):g}); all other dropout stays")
    if changes:
        logger.warning("%s, for its attention maps: %s", type(inner).__name__, "; ".join(changes))
    try:
        inner.set_attn_implementation("eager")
        for dropout in dropouts:
            setattr(*dropout, 0.0)
        yield
    finally:
        for dropout, probability in zip(dropouts, probabilities, strict=True):
            setattr(*dropout, probability)
        inner.set_attn_implementation(implementation)


def _map_dropout(attention: Any) -> tuple[Any, str]:
    """Return the object and the attribute that hold the dropout probability of an attention's map."""
    # Where it is a number, a dropout module beside it is for the output.
    return (attention, "attention_dropout") if hasattr(attention, "attention_dropout") else (attention.dropout, "p")
