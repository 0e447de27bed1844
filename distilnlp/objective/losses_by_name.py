"""The list `losses`: which losses can be named. What each takes and how it is built, its config says."""

from collections.abc import Mapping, Sequence

from distilnlp.errors import DistillationError
from distilnlp.objective.component import LossConfig
from distilnlp.objective.feature import ActivationBoundaryConfig, AttentionConfig, EmbeddingsConfig, HiddenStatesConfig
from distilnlp.objective.relation import MiniLMConfig, MiniLMv2Config, TextRelationConfig
from distilnlp.objective.response import DISTConfig, DKDConfig, ResponseConfig
from distilnlp.validation import Entries

ENTRIES: Entries[LossConfig] = Entries(
    "loss",
    ResponseConfig
    | DKDConfig
    | DISTConfig
    | HiddenStatesConfig
    | EmbeddingsConfig
    | AttentionConfig
    | ActivationBoundaryConfig
    | MiniLMConfig
    | MiniLMv2Config
    | TextRelationConfig,
)
LOSSES = ENTRIES.by_name


def parse_losses(entries: Sequence[Mapping[str, object] | LossConfig]) -> list[LossConfig]:
    """Validate the list `losses`.

    Raises:
        DistillationError: an unknown loss or key, an unfit value, a loss without weight in any part, or the same loss
            twice.
    """
    losses: list[LossConfig] = []
    for index, entry in enumerate(entries):
        loss = ENTRIES.parse(entry, f"losses[{index}]")
        if any(loss.name == other.name for other in losses):
            raise DistillationError(f"losses names {loss.name!r} twice: join the two into one entry.")
        losses.append(loss)
    return losses
