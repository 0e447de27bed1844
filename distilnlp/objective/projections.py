"""Learned projections of what a student's layers give: trained beside the student, never part of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distilnlp.errors import DistillationError

FILE_NAME = "projections.safetensors"


@dataclass(frozen=True)
class Projection:
    """A learned map of what the student's layer of this hidden-state index gives to the teacher's width.

    Attributes:
        index: of the hidden state, or of the layer whose pre-activations are mapped.
        layer: several projections may share it.
        of_neurons: whether pre-activations are mapped, instead of hidden states.
    """

    index: int
    layer: nn.Linear
    of_neurons: bool = False


class Projections(nn.Module):
    """Linear maps of chosen states to the teacher's width, by projection key; a shared one has its first key."""

    def __init__(self, projections: Mapping[str, Projection]) -> None:
        super().__init__()
        self.states = {key: projection.index for key, projection in projections.items() if not projection.of_neurons}
        self.neurons = {key: projection.index for key, projection in projections.items() if projection.of_neurons}
        first = {id(projection.layer): key for key, projection in reversed(list(projections.items()))}
        self._layer_of = {key: first[id(projection.layer)] for key, projection in projections.items()}
        self.layers = nn.ModuleDict({key: projections[key].layer for key in dict.fromkeys(self._layer_of.values())})

    def __len__(self) -> int:
        return len(self.states) + len(self.neurons)

    def forward(
        self, hidden_states: Sequence[Tensor] | None, pre_activations: Mapping[int, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return `[batch, length, teacher width]` by projection key, in the dtype of the maps also under autocast.

        Of what is None nothing is mapped: an evaluation needs none.
        """
        given = {key: hidden_states[index] for key, index in self.states.items()} if hidden_states is not None else {}
        if pre_activations is not None:
            given |= {key: pre_activations[index] for key, index in self.neurons.items()}
        projected = {}
        for key, states in given.items():
            layer = cast(nn.Linear, self.layers[self._layer_of[key]])
            with torch.autocast(states.device.type, enabled=False):
                projected[key] = layer(states.to(layer.weight.dtype))
        return projected

    def save(self, folder: str | Path) -> None:
        """Write the weights, if there are any, into a checkpoint folder."""
        if len(self):
            save_file(self.state_dict(), Path(folder) / FILE_NAME)

    def load(self, folder: str | Path) -> None:
        """Read the weights from a checkpoint folder.

        Raises:
            DistillationError: the checkpoint has no projections, or those of another student or teacher, or has some
                although there are none here.
        """
        path = Path(folder) / FILE_NAME
        if not len(self) and path.is_file():
            raise DistillationError(
                f"the checkpoint {folder} was written with other losses: it has projections, and this run uses none. "
                "Resume with the losses it was trained with, or start anew."
            )
        if len(self) and not path.is_file():
            raise DistillationError(
                f"expected the projections of the feature losses in {path}, but there is no such file: the checkpoint "
                "was written without these losses. Resume with the losses it was trained with, or start anew."
            )
        try:
            self.load_state_dict(load_file(path) if len(self) else {})
        except RuntimeError as error:
            raise DistillationError(
                f"the projections in {path} belong to other losses, layers or widths: {error} Resume with the losses "
                "it was trained with, or start anew."
            ) from error
