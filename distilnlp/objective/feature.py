"""Feature losses: hidden states, attention maps and neurons, layer by layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from distilnlp import losses
from distilnlp.errors import DistillationError
from distilnlp.models.captures import check_capturable
from distilnlp.objective.component import Component, LossConfig, ModelPair
from distilnlp.objective.layer_mapping import LEARNED, LayerMapping, like_to_like, resolve_layer_mapping
from distilnlp.objective.projections import Projection
from distilnlp.objective.word_states import CommonWords, common_words
from distilnlp.signals import WORD_IDS, Batch, SignalRequest, Signals, token_mask


class LayersConfig(LossConfig):
    """An entry of `losses` that compares layers."""

    layer_mapping: str | list[tuple[int, int]] = Field(
        default="uniform",
        description="pairs of (student, teacher) hidden-state indices, 0 = embeddings, or uniform, first, last, and "
        "for hidden_state_mse learned",
    )

    @field_validator("layer_mapping", mode="before")
    @classmethod
    def _check_form(cls, value: object) -> object:
        is_pairs = isinstance(value, list | tuple) and all(
            isinstance(pair, list | tuple) and [type(index) for index in pair] == [int, int] for pair in value
        )
        if not is_pairs and not isinstance(value, str):
            raise ValueError(f"must be pairs such as [[1, 2], [2, 4]], or uniform, first, last; got {value!r}")
        return value


class HiddenStatesConfig(LayersConfig):
    """An entry of `losses` that compares hidden states."""

    name: Literal["hidden_state_mse", "hidden_state_cosine", "pkd", "neuron_selectivity"]
    projection: Literal["per_layer", "shared"] = Field(
        default="per_layer",
        description="where the widths differ: a learned linear map for each of the student's layers, or one for all",
    )

    def build(self, models: ModelPair) -> "HiddenStateLoss":
        student, teacher = models.student.num_hidden_states, models.teacher.num_hidden_states
        if self.layer_mapping == LEARNED:
            if self.name != "hidden_state_mse":
                raise DistillationError(
                    f"layer_mapping: {LEARNED} works with hidden_state_mse alone, but it is asked of {self.name}. Give "
                    "pairs, or uniform, first or last."
                )
            resolve_layer_mapping("uniform", student, teacher)  # refuses a teacher without hidden states
            mapping = [(own, list(range(1, teacher))) for own in range(1, student)]
        else:
            mapping = [(own, [other]) for own, other in resolve_layer_mapping(self.layer_mapping, student, teacher)]
        return HiddenStateLoss(self, mapping, models, self.projection == "shared")


class EmbeddingsConfig(LossConfig):
    """An entry of `losses` that compares the embeddings."""

    name: Literal["embedding_mse"]

    def build(self, models: ModelPair) -> "HiddenStateLoss":
        student, teacher = models.student.num_hidden_states, models.teacher.num_hidden_states
        mapping = [(own, [other]) for own, other in resolve_layer_mapping([(0, 0)], student, teacher)]
        return HiddenStateLoss(self, mapping, models)


class AttentionConfig(LayersConfig):
    """An entry of `losses` that compares attention maps."""

    name: Literal["attention_mse", "attention_kl"]

    def build(self, models: ModelPair) -> "AttentionLoss":
        student, teacher = models.student, models.teacher
        mapping = _captured_layers(self, models, "attention")
        return AttentionLoss(self, _learnable(self, mapping, student.attention_windows, teacher.attention_windows))


class ActivationBoundaryConfig(LayersConfig):
    """An entry of `losses` that compares which neurons are on."""

    name: Literal["activation_boundary"]
    margin: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="how far beyond the boundary the student's pre-activations should be",
    )

    def build(self, models: ModelPair) -> "ActivationBoundaryLoss":
        return ActivationBoundaryLoss(self, _captured_layers(self, models, "neurons"), models)


def _captured_layers(config: LayersConfig, models: ModelPair, what: str) -> LayerMapping:
    """Return the pairs of a loss that reads the insides of layers, which the embeddings and some models lack."""
    student, teacher = models.student, models.teacher
    mapping = resolve_layer_mapping(config.layer_mapping, student.num_hidden_states, teacher.num_hidden_states)
    for own, other in mapping:
        if 0 in (own, other):
            raise DistillationError(
                f"{config.name}: layer_mapping pair ({own}, {other}) names the embeddings (index 0), which have no "
                f"{what}. The first layer is 1."
            )
    for profile in (student, teacher):
        check_capturable(profile.model_type)
    return mapping


@dataclass(frozen=True)
class Feature:
    """A loss on hidden states.

    Attributes:
        compute: the function of tensors, `(student, teacher, mask, num_items)`.
        counts_texts: its item is a text, else a token.
        first_token: it reads the state of the first token alone.
        any_widths: it compares states of different widths as they are.
    """

    compute: Callable[..., Tensor]
    counts_texts: bool = False
    first_token: bool = False
    any_widths: bool = False


FEATURES = {
    "hidden_state_mse": Feature(losses.hidden_state_mse),
    "hidden_state_cosine": Feature(losses.hidden_state_cosine),
    "embedding_mse": Feature(losses.hidden_state_mse),
    "pkd": Feature(losses.pkd, counts_texts=True, first_token=True),
    "neuron_selectivity": Feature(losses.neuron_selectivity, counts_texts=True, any_widths=True),
}
ATTENTIONS = {"attention_mse": losses.attention_mse, "attention_kl": losses.attention_kl}


def texts(batch: Batch) -> Tensor:
    """Bool `[texts]`: True for every text that has a token."""
    return token_mask(batch).any(dim=-1)


def same_tokens(name: str, student: Signals, teacher: Signals) -> Tensor:
    """Return the mask of the tokens `[texts, length]`, which student and teacher must share."""
    assert student.mask is not None
    if teacher.mask is None:
        raise DistillationError(
            f"{name} needs to know the teacher's tokens, but its signals have no mask. Give Signals(mask=...), bool "
            "[texts, length], in the teacher's __call__."
        )
    if teacher.mask.shape != student.mask.shape:
        raise DistillationError(
            f"{name} compares student and teacher token by token, but they split the text into different pieces. Use a "
            "student with the teacher's tokenizer, a loss on hidden states with word_ids and teacher_word_ids in the "
            "rows (docs/students.md), or a loss on logits or on whole texts (rkd_distance, rkd_angle, "
            "similarity_preserving)."
        )
    return student.mask


class HiddenStateLoss(Component):
    """A loss on hidden states, averaged over the pairs of a layer mapping; real tokens, or texts, count.

    Where rows number the words of both encodings (`word_ids`), what is compared is the mean over the pieces of each
    word, and words that both encodings have count in place of tokens.

    Args:
        config: the entry of `losses`.
        mapping: its pairs; each of the student's layers with the teacher's layers that it attends over, mostly one.
        models: their widths say whether the student's states are projected.
        shared: whether one projection does for all layers.
    """

    def __init__(
        self, config: LossConfig, mapping: list[tuple[int, list[int]]], models: ModelPair, shared: bool = False
    ) -> None:
        self.name, self.weight = config.name, config.weight
        self.student_request = SignalRequest(hidden_states=frozenset(own for own, _ in mapping))
        self.teacher_request = SignalRequest(hidden_states=frozenset().union(*(others for _, others in mapping)))
        self._feature = FEATURES[config.name]
        self.compares_tokens = not self._feature.first_token
        self.aligned_by = WORD_IDS
        self._mapping = mapping
        widths = models.student.hidden_size, models.teacher.hidden_size
        if widths[0] != widths[1] and not self._feature.any_widths:
            one = nn.Linear(*widths)
            self.projections = {
                projection_key(self.name, own): Projection(own, one if shared else nn.Linear(*widths))
                for own in sorted({own for own, _ in mapping})
            }

    def count(self, batch: Batch) -> Tensor:
        words = self._words(batch)
        mask = token_mask(batch) if words is None else words.mask
        return (mask.any(dim=-1) if self._feature.counts_texts else mask).sum()

    def __call__(
        self, student: Signals, teacher: Signals, batch: Batch, num_items: Tensor | int | None, temperature: float
    ) -> Tensor:
        own = {index: self._own(student, index) for index, _ in self._mapping}
        states = _states(self.name, teacher)
        other = {index: states[index] for _, indices in self._mapping for index in indices}
        words = self._words(batch)
        if words is not None:
            mask = words.mask
            own = {index: words.pooled(layer, words.student) for index, layer in own.items()}
            other = {index: words.pooled(layer, words.teacher) for index, layer in other.items()}
        else:
            assert student.mask is not None
            mask = student.mask if self._feature.first_token else same_tokens(self.name, student, teacher)
        values = [
            self._compare(own[index], [other[layer] for layer in indices], mask, num_items)
            for index, indices in self._mapping
        ]
        return torch.stack(values).mean()

    def _words(self, batch: Batch) -> CommonWords | None:
        return None if self._feature.first_token else common_words(batch)

    def _own(self, student: Signals, index: int) -> Tensor:
        projected = student.projected.get(projection_key(self.name, index))
        return _states(self.name, student)[index] if projected is None else projected

    def _compare(self, own: Tensor, others: list[Tensor], mask: Tensor, num_items: Tensor | int | None) -> Tensor:
        if self._feature.first_token:
            return self._feature.compute(own[:, 0], others[0][:, 0], mask.any(dim=-1), num_items)
        if len(others) > 1:  # the teacher's side depends on the student's, so the gradient goes through both
            own = own - losses.attended_layers(own, others, mask)
            return self._feature.compute(own, torch.zeros_like(own), mask, num_items)
        return self._feature.compute(own, others[0], mask, num_items)


def projection_key(loss: str, student_index: int) -> str:
    """Return the name of the projection of one student hidden state for one loss."""
    return f"{loss}_{student_index}"


def _states(name: str, signals: Signals) -> Sequence[Tensor] | Mapping[int, Tensor]:
    if signals.hidden_states is None:
        raise DistillationError(f"{name} needs hidden states of student and teacher, but one gave none.")
    return signals.hidden_states


class AttentionLoss(Component):
    """A loss on attention maps, averaged over the pairs of a layer mapping; every real token's row counts."""

    compares_tokens = True

    def __init__(self, config: LayersConfig, mapping: LayerMapping) -> None:
        self.name, self.weight = config.name, config.weight
        self.student_request = SignalRequest(attentions=frozenset(own for own, _ in mapping))
        self.teacher_request = SignalRequest(attentions=frozenset(other for _, other in mapping))
        self._mapping = mapping

    def count(self, batch: Batch) -> Tensor:
        return token_mask(batch).sum()

    def __call__(
        self, student: Signals, teacher: Signals, batch: Batch, num_items: Tensor | int | None, temperature: float
    ) -> Tensor:
        mask, compute = same_tokens(self.name, student, teacher), ATTENTIONS[self.name]
        values = [
            compute(student.attentions[own], teacher.attentions[other], mask, num_items) for own, other in self._mapping
        ]
        return torch.stack(values).mean()


class ActivationBoundaryLoss(Component):
    """The hinge on which neurons are on, averaged over the pairs of a layer mapping; every real token counts."""

    compares_tokens = True

    def __init__(self, config: ActivationBoundaryConfig, mapping: LayerMapping, models: ModelPair) -> None:
        self.name, self.weight = config.name, config.weight
        self.student_request = SignalRequest(pre_activations=frozenset(own for own, _ in mapping))
        self.teacher_request = SignalRequest(pre_activations=frozenset(other for _, other in mapping))
        self._mapping, self._margin = mapping, config.margin
        sizes = models.student.num_neurons, models.teacher.num_neurons
        if sizes[0] != sizes[1]:
            self.projections = {
                projection_key(self.name, own): Projection(own, nn.Linear(*sizes), of_neurons=True)
                for own in sorted({own for own, _ in mapping})
            }

    def count(self, batch: Batch) -> Tensor:
        return token_mask(batch).sum()

    def __call__(
        self, student: Signals, teacher: Signals, batch: Batch, num_items: Tensor | int | None, temperature: float
    ) -> Tensor:
        mask = same_tokens(self.name, student, teacher)
        values = []
        for own, other in self._mapping:
            projected = student.projected.get(projection_key(self.name, own))
            neurons = student.pre_activations[own] if projected is None else projected
            values.append(
                losses.activation_boundary(neurons, teacher.pre_activations[other], mask, num_items, self._margin)
            )
        return torch.stack(values).mean()


def _learnable(
    config: LayersConfig, mapping: LayerMapping, student: Sequence[int], teacher: Sequence[int]
) -> LayerMapping:
    """Return the pairs, local layers beside local ones where a strategy chose them.

    A layer that does not see a token can never have the teacher's probability there, which would cost a KL divergence
    what the smallest number costs: under a strategy such a layer is left out, and a pair that was given is refused.
    """
    by_strategy = isinstance(config.layer_mapping, str)
    if by_strategy:
        mapping = like_to_like(mapping, student, teacher)
    if config.name != "attention_kl":
        return mapping
    blind = [pair for pair in mapping if not _sees_enough(pair, student, teacher)]
    if blind and (not by_strategy or len(blind) == len(mapping)):
        own, other = blind[0]
        raise DistillationError(
            f"attention_kl: layer_mapping pair ({own}, {other}) asks a layer whose attention sees {student[own - 1]} "
            f"tokens for that of one that sees {(teacher[other - 1] if teacher else 0) or 'the whole text'}, which it "
            "cannot learn. Pair layers that see as much, or use attention_mse."
        )
    return [pair for pair in mapping if pair not in blind]


def _sees_enough(pair: tuple[int, int], student: Sequence[int], teacher: Sequence[int]) -> bool:
    own = student[pair[0] - 1] if student else 0
    other = teacher[pair[1] - 1] if teacher else 0
    return own == 0 or 0 < other <= own
