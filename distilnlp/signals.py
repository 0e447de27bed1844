"""Signals: what a model gives to the losses. The ground floor: everything else in the package reads these types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class SignalRequest:
    """Which signals the objective needs beside the logits, so that no model computes what nobody reads."""

    hidden_states: bool = False


@dataclass(frozen=True)
class Signals:
    """What one forward pass of a student or a teacher emits.

    Attributes:
        logits: `[items, classes]`, in the student's label order.
        hidden_states: one `[batch, length, width]` tensor per hidden-state index (0 = embeddings), if requested.
        projected: the student's hidden states in the teacher's width, by projection key; empty where none is needed.
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    projected: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class SignalProfile:
    """What a model can emit, known before it runs.

    Attributes:
        label_names: label names in the order of the logits; None where the model names none.
        num_labels: number of classes of its logits.
        num_hidden_states: layers + 1 (index 0 = embeddings); 0 for a model that emits none.
        hidden_size: width of a hidden state; 0 for a model that emits none.
    """

    label_names: tuple[str, ...] | None
    num_labels: int
    num_hidden_states: int = 0
    hidden_size: int = 0


def profile_of(model: PreTrainedModel) -> SignalProfile:
    """Read from its config what a transformers model can emit."""
    config: Any = model.config
    return SignalProfile(
        label_names=label_names_of(config),
        num_labels=config.num_labels,
        num_hidden_states=config.num_hidden_layers + 1,
        hidden_size=config.hidden_size,
    )


def label_names_of(config: Any) -> tuple[str, ...] | None:
    """Return the label names in logit order; None where the config only has the placeholders `LABEL_0`, `LABEL_1`…"""
    missing = [index for index in range(config.num_labels) if index not in config.id2label]
    if missing:
        raise DistillationError(f"the config's id2label must name every id from 0, but it lacks {missing}. Name them.")
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    is_placeholder = names == tuple(f"LABEL_{index}" for index in range(config.num_labels))
    return None if is_placeholder else names


def read_signals(outputs: Any, request: SignalRequest) -> Signals:
    """Read the requested signals from the outputs of a transformers model."""
    hidden_states = outputs.hidden_states if request.hidden_states else None
    return Signals(logits=outputs.logits, hidden_states=hidden_states)


def named_inputs(model: nn.Module) -> frozenset[str]:
    """Return the inputs that a model's `forward` names; `**kwargs` does not count, for it swallows unknown keys."""
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return frozenset(name for name, parameter in signature(model.forward).parameters.items() if parameter.kind in kinds)


def select_inputs(batch: Batch, names: frozenset[str]) -> dict[str, Any]:
    """Keep the entries of a batch that a model names, without the labels: the objective computes the losses."""
    return {name: value for name, value in batch.items() if name in names and name != "labels"}
