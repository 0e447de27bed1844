"""Learned projections of student hidden states: trained with the student, never part of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distilnlp.errors import DistillationError

ATTACHED_AS = "distillation_projections"
FILE_NAME = "projections.safetensors"


@dataclass(frozen=True)
class Projection:
    """A learned map of one of the student's hidden states to the teacher's width.

    Attributes:
        index: of the hidden state.
        layer: the linear map; several projections may share one.
    """

    index: int
    layer: nn.Linear


class Projections(nn.Module):
    """Linear maps of chosen hidden states, which ride on the student while it trains.

    As a submodule of the student they are wrapped, synchronised, clipped and optimised with it. They run inside its
    forward pass (a hook), so that DDP and sharded set-ups see them used. They leave no trace in the student's
    state dict: no save of the student, by whomever, can contain them.

    Args:
        projections: by projection key; several may share one linear map, which is then kept under the first's key.
    """

    def __init__(self, projections: Mapping[str, Projection]) -> None:
        super().__init__()
        self.states = {key: projection.index for key, projection in projections.items()}
        first = {id(projection.layer): key for key, projection in reversed(list(projections.items()))}
        self._layer_of = {key: first[id(projection.layer)] for key, projection in projections.items()}
        self.layers = nn.ModuleDict({key: projections[key].layer for key in dict.fromkeys(self._layer_of.values())})
        self.register_load_state_dict_post_hook(_not_missing)

    def __len__(self) -> int:
        return len(self.states)

    def forward(self, hidden_states: tuple[Tensor, ...]) -> list[Tensor]:
        """Return one `[batch, length, teacher width]` for each projection key, in their order."""
        return [self.layers[self._layer_of[key]](hidden_states[index]) for key, index in self.states.items()]

    def state_dict(self, *args: Any, destination: Any = None, **kwargs: Any) -> Any:
        """Give the weights when asked directly; give nothing to a student that collects its own state."""
        return super().state_dict(*args, **kwargs) if destination is None else destination

    def save(self, folder: str | Path) -> None:
        """Write the weights into a checkpoint folder."""
        save_file(self.state_dict(), Path(folder) / FILE_NAME)

    def load(self, folder: str | Path) -> None:
        """Read the weights from a checkpoint folder.

        Raises:
            DistillationError: the checkpoint has no projections, or those of another student or teacher.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise DistillationError(
                f"expected the projections of the feature losses in {path}, but there is no such file: the checkpoint "
                "was written without these losses. Resume with the losses it was trained with, or start anew."
            )
        try:
            self.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise DistillationError(
                f"the projections in {path} belong to other losses, layers or widths: {error} Resume with the losses "
                "it was trained with, or start anew."
            ) from error


def _not_missing(_module: nn.Module, keys: Any) -> None:
    """A student that gets its own state back while projections ride on it lacks nothing."""
    keys.missing_keys[:] = [key for key in keys.missing_keys if ATTACHED_AS not in key]


def refuse_unused(folder: str | Path) -> None:
    """Raise a `DistillationError` if a checkpoint has projections, for a run that uses none."""
    if (Path(folder) / FILE_NAME).is_file():
        raise DistillationError(
            f"the checkpoint {folder} was written with other losses: it has projections, and this run uses none. "
            "Resume with the losses it was trained with, or start anew."
        )


@contextmanager
def attached(projections: Projections, student: nn.Module) -> Iterator[None]:
    """Let the projections ride on a student: its outputs then have the projected states behind its hidden states."""
    if not len(projections):
        yield
        return
    reference = next(student.parameters())
    student.add_module(ATTACHED_AS, projections.to(device=reference.device, dtype=reference.dtype))
    hook = student.register_forward_hook(_project)
    try:
        yield
    finally:
        hook.remove()
        delattr(student, ATTACHED_AS)


def _project(student: nn.Module, _inputs: Any, outputs: Any) -> Any:
    # Reads the submodule from the module it was called on, so that a replica uses its own copy of the weights. The
    # result goes where the output's class has a place for it, for DDP builds the output anew from its class.
    states = outputs.get("hidden_states")
    if states is not None:
        outputs["hidden_states"] = (*states, *getattr(student, ATTACHED_AS)(states))
    return outputs


def split_projected(student: nn.Module, states: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Separate a student's own hidden states from the projected ones that ride behind them, by projection key."""
    projections: Projections | None = getattr(student, ATTACHED_AS, None)
    if projections is None:
        return states, {}
    own = len(states) - len(projections)
    return states[:own], dict(zip(projections.states, states[own:], strict=True))
