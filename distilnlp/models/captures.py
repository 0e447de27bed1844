"""Captures: queries, keys, values and attention maps of chosen layers, read by hooks that leave the model as it is."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, NamedTuple

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.losses import QueryKeyValue
from distilnlp.models.families import FAMILIES, Family

logger = logging.getLogger(__name__)

ROW_SUM_TOLERANCE = 0.01  # rounding in bf16 stays below 0.004; dropout at p scales a row by up to 1 / (1 - p)


@dataclass(frozen=True)
class Captures:
    """What the chosen layers gave in the last forward pass, by hidden-state index (the first layer's is 1).

    Attributes:
        attentions: probabilities `[batch, heads, length, length]`; the last dimension is over the keys and sums to 1.
        qkv: queries, keys and values, each `[batch, heads, length, head_dim]`; where positions rotate queries and keys,
            before the rotation.
    """

    attentions: dict[int, Tensor] = field(default_factory=dict)
    qkv: dict[int, QueryKeyValue] = field(default_factory=dict)


def check_capturable(model_type: str | None, *, needs_plain_scores: bool = False) -> Family:
    """Return the family of a model whose queries, keys, values and attention maps can be captured.

    Args:
        model_type: the family as the model's config calls it; None for anything but a transformers model.
        needs_plain_scores: a loss computes the attention scores as q·k/√d itself, which is the model's own attention
            only where no positions enter the scores.

    Raises:
        DistillationError: the family is unknown, or has other scores.
    """
    able = [name for name, family in FAMILIES.items() if family.scores_are_qk or not needs_plain_scores]
    if model_type is None or model_type not in FAMILIES:
        raise DistillationError(
            f"queries, keys, values and attention maps can be captured from the families {', '.join(able)}; got "
            f"{model_type!r}. Use a model of one of them, or a loss on logits or on hidden states."
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
    return list(inner.base_model.get_submodule(_family_of(inner).layers).children())


def _family_of(model: PreTrainedModel) -> Family:
    return check_capturable(model.config.model_type)


# ---- Capturing ----


@contextmanager
def capturing(model: nn.Module, attentions: Collection[int] = (), qkv: Collection[int] = ()) -> Iterator[Captures]:
    """Record chosen layers during the forward passes inside the block; the last pass wins.

    Gradients flow through what is captured, also where activations are checkpointed (not re-entrant) and under
    autocast. Only what was asked for is held, and after the block not by the model. Attention maps need eager
    attention without dropout on the maps: enter `eager_attention` around the block, best around the whole run.

    Args:
        model: a model of a supported family with any head, in eval or train mode; DDP may wrap it. Where nothing is
            wanted, any model.
        attentions: hidden-state indices of the layers whose attention maps are wanted.
        qkv: hidden-state indices of the layers whose queries, keys and values are wanted.

    Yields:
        The captures, filled by the forward pass.

    Raises:
        DistillationError: the family is unknown or an index out of range; in the forward pass, an attention gives no
            map, checkpointing is re-entrant or `DataParallel` splits the batch; at the end of the block, rows of a
            map do not sum to 1 or a layer did not run.
    """
    captures, hooks = Captures(), _Hooks()
    try:
        if attentions or qkv:  # else any model will do
            _set_hooks(hooks, captures, bare_model(model), set(attentions), set(qkv))
        yield captures
        _check_complete(captures, attentions, qkv)
        _check_rows(captures.attentions)
    finally:
        hooks.remove()


class _Hooks:
    """The hooks of one block."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def follow(self, layer: nn.Module, paths: Sequence[str], put: Callable[[list[Any]], None]) -> None:
        """Hand the outputs of modules inside a layer to `put`, each time that the layer is through."""
        one_pass = _LayerPass(paths, put)
        self._handles.append(layer.register_forward_pre_hook(one_pass.start))
        self._handles.extend(layer.get_submodule(path).register_forward_hook(one_pass.keeper(path)) for path in paths)
        self._handles.append(layer.register_forward_hook(one_pass.finish))

    def ask_for_map(self, attention: nn.Module) -> None:
        """Make an attention that gives its map on request alone give it to its caller, which drops it."""
        if "output_attentions" in signature(attention.forward).parameters:
            self._handles.append(attention.register_forward_pre_hook(_with_map, with_kwargs=True))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def _with_map(attention: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    call = signature(attention.forward).bind(*args, **kwargs)
    call.arguments["output_attentions"] = True
    return call.args, call.kwargs


def _set_hooks(hooks: _Hooks, captures: Captures, model: PreTrainedModel, attentions: set[int], qkv: set[int]) -> None:
    family, layers = _family_of(model), layers_of(model)
    _check_indices(attentions | qkv, len(layers))
    for index in sorted(attentions):
        hooks.ask_for_map(layers[index - 1].get_submodule(family.attention))
        hooks.follow(layers[index - 1], [family.attention], _map_reader(captures.attentions, index))
    for index in sorted(qkv):
        put = _qkv_reader(captures.qkv, index, model.config.num_attention_heads)
        hooks.follow(layers[index - 1], family.qkv, put)


class _LayerPass:
    """Keeps outputs of modules inside a layer while a forward pass is in the layer.

    A module's first output counts: an attention may use a projection again for its position embeddings. Between the
    passes nothing is kept: a checkpointed layer runs its modules once more in the backward pass, but not its own hooks.
    """

    def __init__(self, paths: Sequence[str], put: Callable[[list[Any]], None]) -> None:
        self._paths, self._put = paths, put
        self._outputs: dict[str, Any] | None = None
        self._has_grad = False

    def start(self, layer: nn.Module, _args: Any) -> None:
        if getattr(layer, "_is_replica", False):
            raise DistillationError(
                "attention maps, queries, keys and values cannot be captured under DataParallel, which splits the "
                "batch within one process. Launch one process a GPU: `accelerate launch` or `torchrun`."
            )
        self._outputs, self._has_grad = {}, torch.is_grad_enabled()

    def keeper(self, path: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            if self._outputs is None:
                return
            if self._has_grad and not torch.is_grad_enabled():
                raise DistillationError(
                    "re-entrant activation checkpointing runs the layers without gradient, so that a loss on their "
                    'insides would train nothing. Set activation_checkpointing_kwargs={"use_reentrant": False}.'
                )
            self._outputs.setdefault(path, output)

        return keep

    def finish(self, _layer: nn.Module, _args: Any, _output: Any) -> None:
        outputs, self._outputs = self._outputs or {}, None
        if len(outputs) == len(self._paths):  # a compiled layer runs past the hooks inside it
            self._put([outputs[path] for path in self._paths])


def _map_reader(attentions: dict[int, Tensor], index: int) -> Callable[[list[Any]], None]:
    def put(outputs: list[Any]) -> None:
        attention_map = outputs[0][1]
        if attention_map is None or attention_map.dim() != 4 or attention_map.shape[-1] != attention_map.shape[-2]:
            raise DistillationError(
                f"expected an attention map [batch, heads, length, length] from the layer of hidden state {index}, but "
                f"its attention gave {'none' if attention_map is None else list(attention_map.shape)}: only eager "
                "attention gives maps. Run the model inside `eager_attention(model)`, or load it with "
                'attn_implementation="eager".'
            )
        attentions[index] = attention_map

    return put


def _qkv_reader(qkv: dict[int, QueryKeyValue], index: int, heads: int) -> Callable[[list[Any]], None]:
    def put(outputs: list[Any]) -> None:
        parts = outputs if len(outputs) == 3 else outputs[0].chunk(3, dim=-1)
        qkv[index] = QueryKeyValue(*(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts))

    return put


def _check_indices(indices: set[int], num_layers: int) -> None:
    for index in sorted(indices):
        if not 1 <= index <= num_layers:
            raise DistillationError(
                f"attention is captured by hidden-state index, between 1 (the first layer's) and {num_layers} (the "
                f"last one's); got {index}{', the embeddings, which have no attention' if index == 0 else ''}."
            )


def _check_complete(captures: Captures, attentions: Collection[int], qkv: Collection[int]) -> None:
    absent = sorted(({*attentions} - captures.attentions.keys()) | ({*qkv} - captures.qkv.keys()))
    if absent:
        raise DistillationError(
            f"nothing was captured for the hidden states {absent}: no forward pass of the model ran in the block, or "
            "it ran compiled, past the hooks. Run the model inside the block, without torch.compile."
        )


def _check_rows(attentions: dict[int, Tensor]) -> None:
    """Refuse maps whose rows do not sum to 1. A NaN passes: it is the model's own and shows in the loss."""
    sums = [attention_map.detach().sum(dim=-1, dtype=torch.float32) for attention_map in attentions.values()]
    if not sums:
        return
    worst = torch.stack([(sum_of_rows - 1).abs().amax() for sum_of_rows in sums]).amax().item()  # waits once
    if worst > ROW_SUM_TOLERANCE:
        raise DistillationError(
            f"rows of the attention maps of the hidden states {sorted(attentions)} must sum to 1, but they are off by "
            f"up to {worst:.3g}: eager maps are given after dropout. Run the model inside `eager_attention(model)`, "
            "which switches the maps' dropout off."
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
    path = _family_of(inner).attention
    implementation = inner.config._attn_implementation
    dropouts = [_MapDropout.of(layer.get_submodule(path)) for layer in layers_of(inner)]
    _say_what_changes(inner, implementation, max(dropout.probability for dropout in dropouts))
    try:
        inner.set_attn_implementation("eager")
        for dropout in dropouts:
            dropout.set(0.0)
        yield
    finally:
        for dropout in dropouts:
            dropout.set(dropout.probability)
        inner.set_attn_implementation(implementation)


class _MapDropout(NamedTuple):
    """Where an attention keeps the dropout probability of its map, and what it was."""

    owner: Any
    name: str
    probability: float

    @classmethod
    def of(cls, attention: Any) -> "_MapDropout":
        is_number = hasattr(attention, "attention_dropout")  # beside it, a dropout module is for the output
        owner, name = (attention, "attention_dropout") if is_number else (attention.dropout, "p")
        return cls(owner, name, getattr(owner, name))

    def set(self, probability: float) -> None:
        setattr(self.owner, self.name, probability)


def _say_what_changes(model: PreTrainedModel, implementation: str, probability: float) -> None:
    changes = []
    if implementation != "eager":
        changes.append(f"attention is eager instead of {implementation}, which is slower and takes more memory")
    if probability:
        changes.append(f"attention maps have no dropout (instead of p={probability:g}); all other dropout stays")
    if changes:
        logger.warning("%s, for its attention maps: %s", type(model).__name__, "; ".join(changes))
