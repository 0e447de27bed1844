"""Relation losses: how tokens relate inside a text, and texts among one another."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import Field
from torch import Tensor

from distilnlp import losses
from distilnlp.errors import DistillationError
from distilnlp.models.captures import check_capturable
from distilnlp.objective.component import Component, LossConfig, ModelPair
from distilnlp.objective.feature import same_tokens, texts
from distilnlp.objective.layer_mapping import resolve_layer_mapping
from distilnlp.signals import Batch, SignalRequest, Signals, token_mask


class RelationConfig(LossConfig):
    """An entry of `losses` that compares one layer of the student with one of the teacher."""

    student_layer: int | None = Field(default=None, ge=1, description="counted from 1; null = the last one")
    teacher_layer: int | None = Field(default=None, ge=1, description="counted from 1; null = the last one")

    def _layers(self, models: ModelPair) -> tuple[int, int]:
        """Return the hidden-state indices of the student's and the teacher's layer, the last ones by default."""
        student, teacher = models.student.num_hidden_states, models.teacher.num_hidden_states
        pair = (self.student_layer or student - 1, self.teacher_layer or teacher - 1)
        return resolve_layer_mapping([pair], student, teacher)[0]


class MiniLMConfig(RelationConfig):
    """An entry of `losses` for the attention and the values of MiniLM."""

    name: Literal["minilm"]

    def build(self, models: ModelPair) -> "TokenRelationLoss":
        layers = self._layers(models)
        for profile in (models.student, models.teacher):
            check_capturable(profile.model_type, needs_plain_scores=True)
        heads = models.student.num_heads, models.teacher.num_heads
        if heads[0] != heads[1]:
            raise DistillationError(
                f"minilm compares attention head by head, but the student has {heads[0]} heads and the teacher "
                f"{heads[1]}. Use minilmv2, which regroups the heads."
            )
        return TokenRelationLoss(self, layers, losses.minilm)


class MiniLMv2Config(RelationConfig):
    """An entry of `losses` for the relations of MiniLMv2."""

    name: Literal["minilmv2"]
    num_relation_heads: int | None = Field(
        default=None, ge=1, description="heads that the relations are regrouped into; null = the teacher's own number"
    )
    query_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of the query relations")
    key_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of the key relations")
    value_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of the value relations")

    def build(self, models: ModelPair) -> "TokenRelationLoss":
        layers = self._layers(models)
        for profile in (models.student, models.teacher):
            check_capturable(profile.model_type)
        heads = self.num_relation_heads or models.teacher.num_heads
        widths = models.student.hidden_size, models.teacher.hidden_size
        if any(width % heads for width in widths):
            fitting = [number for number in range(1, min(widths) + 1) if not any(width % number for width in widths)]
            raise DistillationError(
                f"minilmv2: num_relation_heads must divide the student's width {widths[0]} and the teacher's "
                f"{widths[1]}, but it is {heads}. Set it to one of {[number for number in fitting if number <= 64]}."
            )
        weights = self.model_dump(include={"query_weight", "key_weight", "value_weight"})
        return TokenRelationLoss(self, layers, partial(losses.minilmv2, num_relation_heads=heads, **weights))


class TextRelationConfig(RelationConfig):
    """An entry of `losses` for relations among the texts of a batch."""

    name: Literal["rkd_distance", "rkd_angle", "similarity_preserving"]

    def build(self, models: ModelPair) -> "TextRelationLoss":
        return TextRelationLoss(self, self._layers(models))


@dataclass(frozen=True)
class TextRelation:
    """A loss on the relations among the texts of a batch.

    Attributes:
        compute: the function of tensors, `(student, teacher, mask, num_items)`.
        items: how many items a number of texts makes.
        min_texts: fewer texts have nothing to relate.
    """

    compute: Callable[..., Tensor]
    items: Callable[[Tensor], Tensor]
    min_texts: int = 2


TEXT_RELATIONS = {
    "rkd_distance": TextRelation(losses.rkd_distance, losses.ordered_pairs),
    "rkd_angle": TextRelation(losses.rkd_angle, losses.ordered_triples, 3),
    "similarity_preserving": TextRelation(losses.similarity_preserving, lambda count: count * count),
}


class TokenRelationLoss(Component):
    """MiniLM and MiniLMv2: relations among the queries, keys and values of one layer; every real token's row counts.

    Args:
        config: the entry of `losses`.
        layers: the student's and the teacher's hidden-state index.
        compute: `(student's, teacher's, mask, num_items)` of the captured queries, keys and values.
    """

    compares_tokens = True

    def __init__(self, config: RelationConfig, layers: tuple[int, int], compute: Callable[..., Tensor]) -> None:
        self.name, self.weight = config.name, config.weight
        self.student_request = SignalRequest(qkv=frozenset({layers[0]}))
        self.teacher_request = SignalRequest(qkv=frozenset({layers[1]}))
        self._layers, self._compute = layers, compute

    def count(self, batch: Batch) -> Tensor:
        return token_mask(batch).sum()

    def __call__(
        self, student: Signals, teacher: Signals, batch: Batch, num_items: Tensor | int | None, temperature: float
    ) -> Tensor:
        (own, other), mask = self._layers, same_tokens(self.name, student, teacher)
        return self._compute(student.qkv[own], teacher.qkv[other], mask, num_items)


class TextRelationLoss(Component):
    """Relations among the texts of a micro-batch, by the mean of one layer's hidden states over each text's tokens."""

    def __init__(self, config: RelationConfig, layers: tuple[int, int]) -> None:
        self.name, self.weight = config.name, config.weight
        self.student_request, self.teacher_request = (
            SignalRequest(hidden_states=frozenset({layer})) for layer in layers
        )
        self._layers, self._relation = layers, TEXT_RELATIONS[config.name]
        self.min_texts = self._relation.min_texts

    def count(self, batch: Batch) -> Tensor:
        return self._relation.items(texts(batch).sum())

    def __call__(
        self, student: Signals, teacher: Signals, batch: Batch, num_items: Tensor | int | None, temperature: float
    ) -> Tensor:
        pooled = []
        for side, layer in zip((student, teacher), self._layers, strict=True):
            if side.hidden_states is None or side.mask is None:
                raise DistillationError(
                    f"{self.name} needs hidden states of student and teacher and the mask of their tokens, but one "
                    "gave none."
                )
            pooled.append(losses.pooled(side.hidden_states[layer], side.mask))
        return self._relation.compute(*pooled, texts(batch), num_items)
