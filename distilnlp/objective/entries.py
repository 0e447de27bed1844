"""The list `losses`: which losses can be named, with which settings, and how each is built."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distilnlp.errors import DistillationError
from distilnlp.objective.component import Component, LossConfig, Setting
from distilnlp.objective.feature import (
    ATTENTIONS,
    FEATURES,
    EmbeddingsConfig,
    HiddenStatesConfig,
    LayersConfig,
    build_attention,
    build_embeddings,
    build_hidden_states,
)
from distilnlp.objective.relation import (
    TEXT_RELATIONS,
    MiniLMv2Config,
    RelationConfig,
    build_minilm,
    build_minilmv2,
    build_text_relation,
)
from distilnlp.objective.response import RESPONSES, DISTConfig, DKDConfig, ResponseConfig, build_response
from distilnlp.validation import known_name, parse_section


@dataclass(frozen=True)
class Entry:
    """What a name in the list `losses` stands for.

    Attributes:
        config: the settings that it takes.
        build: `(config, setting) -> Component`.
    """

    config: type[LossConfig]
    build: Callable[[Any, Setting], Component]


LOSSES: dict[str, Entry] = {
    **dict.fromkeys(RESPONSES, Entry(ResponseConfig, build_response)),
    "dkd": Entry(DKDConfig, build_response),
    "dist": Entry(DISTConfig, build_response),
    **dict.fromkeys(FEATURES, Entry(HiddenStatesConfig, build_hidden_states)),
    "embedding_mse": Entry(EmbeddingsConfig, build_embeddings),
    **dict.fromkeys(ATTENTIONS, Entry(LayersConfig, build_attention)),
    "minilm": Entry(RelationConfig, build_minilm),
    "minilmv2": Entry(MiniLMv2Config, build_minilmv2),
    **dict.fromkeys(TEXT_RELATIONS, Entry(RelationConfig, build_text_relation)),
}


def parse_losses(entries: Sequence[dict[str, Any]]) -> list[LossConfig]:
    """Validate the list `losses`.

    Raises:
        DistillationError: an unknown loss or key, an unfit value, a loss without weight in any part, or the same loss
            twice.
    """
    losses: list[LossConfig] = []
    for index, entry in enumerate(entries):
        name = known_name(entry, f"losses[{index}]", LOSSES, "loss")
        if any(loss.name == name for loss in losses):
            raise DistillationError(f"losses names {name!r} twice: join the two into one entry.")
        losses.append(parse_section(LOSSES[name].config, entry, f"losses[{index}]"))
        _check_parts(losses[-1], f"losses[{index}]")
    return losses


def _check_parts(loss: LossConfig, where: str) -> None:
    """Refuse a loss whose parts all have the weight 0."""
    parts = {key: value for key, value in loss if key.endswith("_weight")}
    if parts and not any(parts.values()):
        raise DistillationError(
            f"{where}: every part of {loss.name} has the weight 0, so there is nothing to train on. Give one of "
            f"{', '.join(parts)} a positive weight, or set weight: 0 to turn the loss off."
        )


def build_loss(config: LossConfig, setting: Setting) -> Component:
    """Build the component that an entry of `losses` describes, for this task, student and teacher.

    Raises:
        DistillationError: the loss, the task and the models do not fit together.
    """
    return LOSSES[config.name].build(config, setting)
