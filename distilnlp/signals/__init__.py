"""Signals: what a model gives to the losses. The ground floor: everything else in the package reads these types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn

from distilnlp.errors import DistillationError
from distilnlp.losses import QueryKeyValue
from distilnlp.signals.modality import TOKENS, Modality
from distilnlp.signals.names import (
    ANSWER,
    CHOICES,
    CONTEXT,
    END,
    EXAMPLE,
    FOLD,
    GIVEN_LOGITS,
    LABEL,
    LABEL_COLUMNS,
    LABEL_INPUTS,
    MARKS,
    MEMBER,
    MODEL_INPUTS,
    NO_FOLD,
    NO_LABEL,
    OFFSETS,
    QUESTION,
    REPEATED,
    SOURCE_ROW,
    START,
    TEACHER,
    TEACHER_TEXT,
    TEACHER_TEXT_PAIR,
    TEXT,
    TEXT_PAIR,
    WORD_IDS,
    WORDS,
)
from distilnlp.signals.views import (
    columns_under,
    outside,
    prefixed,
    prefixed_columns,
    student_view,
    teacher_view,
    under,
)

__all__ = [
    "ANSWER",
    "CHOICES",
    "CONTEXT",
    "END",
    "EXAMPLE",
    "FOLD",
    "GIVEN_LOGITS",
    "LABEL",
    "LABEL_COLUMNS",
    "LABEL_INPUTS",
    "MARKS",
    "MEMBER",
    "MODEL_INPUTS",
    "NO_FOLD",
    "NO_LABEL",
    "OFFSETS",
    "QUESTION",
    "REPEATED",
    "SOURCE_ROW",
    "START",
    "TEACHER",
    "TEACHER_TEXT",
    "TEACHER_TEXT_PAIR",
    "TEXT",
    "TEXT_PAIR",
    "TOKENS",
    "WORDS",
    "WORD_IDS",
    "Batch",
    "Modality",
    "SignalProfile",
    "SignalRequest",
    "Signals",
    "columns_under",
    "label_names_of",
    "named_inputs",
    "outside",
    "prefixed",
    "prefixed_columns",
    "select_inputs",
    "student_view",
    "teacher_view",
    "token_mask",
    "under",
]

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class SignalRequest:
    """Which signals the objective needs beside the logits, so that no model computes what nobody reads.

    Attributes:
        hidden_states: those of these indices; a model may give more.
        attentions: attention maps of these layers, by hidden-state index (the first layer is 1).
        qkv: queries, keys and values of these layers, likewise.
        pre_activations: of the neurons of these layers' feed-forward networks, likewise.
    """

    hidden_states: frozenset[int] = frozenset()
    attentions: frozenset[int] = frozenset()
    qkv: frozenset[int] = frozenset()
    pre_activations: frozenset[int] = frozenset()

    @property
    def names(self) -> list[str]:
        """The kinds of signals that are wanted."""
        return [field.name for field in fields(self) if getattr(self, field.name)]

    def __or__(self, other: "SignalRequest") -> "SignalRequest":
        return SignalRequest(*(getattr(self, field.name) | getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True)
class Signals:
    """What one forward pass of a student or a teacher emits. `texts` = batch, or batch · choices in multiple choice.

    Attributes:
        logits: as the task reads them from the outputs, `[batch, labels]` for a classifier, in the student's label
            order.
        mask: bool `[texts, length]`, True for real tokens; None for a teacher that reads no tokens.
        hidden_states: `[texts, length, width]` tensors by hidden-state index (0 = embeddings), at least the
            requested ones: a mapping, or a sequence that has them all; None where none was requested.
        attentions: attention maps `[texts, heads, length, length]` by hidden-state index, if requested.
        qkv: queries, keys and values, each `[texts, heads, length, head width]`, by hidden-state index, if requested.
        pre_activations: what the activation of each feed-forward network reads, `[texts, length, neurons]`, by
            hidden-state index, if requested.
        projected: the student's states in the teacher's width, by projection key; empty where none is needed.
    """

    logits: Tensor
    mask: Tensor | None = None
    hidden_states: Sequence[Tensor] | Mapping[int, Tensor] | None = None
    attentions: Mapping[int, Tensor] = field(default_factory=dict)
    qkv: Mapping[int, QueryKeyValue] = field(default_factory=dict)
    pre_activations: Mapping[int, Tensor] = field(default_factory=dict)
    projected: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class SignalProfile:
    """What a model can emit, known before it runs.

    Attributes:
        label_names: label names in the order of the logits; None where the model names none.
        num_labels: number of classes of its logits.
        num_hidden_states: layers + 1 (index 0 = embeddings); 0 for a model that emits none.
        hidden_size: width of a hidden state; 0 for a model that emits none.
        num_heads: attention heads of a layer; 0 for a model that has none.
        num_neurons: of a layer's feed-forward network; 0 where they cannot be captured.
        model_type: the family, as its config calls it; None for anything but a transformers model.
        task: the name of its task; None = whatever the other side's is.
        temperature: the one temperature at which its logits may be softened; None = any.
        attention_windows: how many tokens the attention of each layer sees, 0 = the whole text; empty = all see it.
    """

    label_names: tuple[str, ...] | None
    num_labels: int
    num_hidden_states: int = 0
    hidden_size: int = 0
    num_heads: int = 0
    num_neurons: int = 0
    model_type: str | None = None
    task: str | None = None
    temperature: float | None = None
    attention_windows: tuple[int, ...] = ()


def label_names_of(config: Any) -> tuple[str, ...] | None:
    """Return the label names in logit order; None where the config only has the placeholders `LABEL_0`, `LABEL_1`…"""
    missing = [index for index in range(config.num_labels) if index not in config.id2label]
    if missing:
        raise DistillationError(f"the config's id2label must name every id from 0, but it lacks {missing}. Name them.")
    names = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    is_placeholder = names == tuple(f"LABEL_{index}" for index in range(config.num_labels))
    return None if is_placeholder else names


def token_mask(batch: Batch, modality: Modality = TOKENS) -> Tensor:
    """Bool `[texts, length]`: True for real tokens. The choices of a multiple-choice row are texts of their own."""
    mask = modality.is_real(batch)
    if "choice_mask" in batch:  # a choice that the row does not have
        mask = mask & batch["choice_mask"].unsqueeze(-1)
    return mask.flatten(0, -2)


def named_inputs(model: nn.Module) -> frozenset[str]:
    """Return the inputs that a model's `forward` names; `**kwargs` does not count, because it swallows unknown keys."""
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return frozenset(name for name, parameter in signature(model.forward).parameters.items() if parameter.kind in kinds)


def select_inputs(batch: Batch, names: frozenset[str]) -> dict[str, Tensor]:
    """Keep the entries of a batch that a model names, without the labels: the objective computes the losses."""
    return {name: value for name, value in batch.items() if name in names and name not in LABEL_INPUTS}
