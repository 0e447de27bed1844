"""How far a training is, told to the screen in use."""

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerState

from distilnlp.screen import open_step
from distilnlp.training.history import BESIDE_FIGURES

LEFT_OUT = (*BESIDE_FIGURES, "learning_rate")


class ProgressOfStep(TrainerCallback):
    """Moves the bar of the step of a run that is open, with the losses by component that were logged last."""

    def __init__(self) -> None:
        self._figures: dict[str, str] = {}

    def on_step_end(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        """Count the optimizer steps that are done."""
        self._move(state)

    def on_log(
        self,
        args: object,
        state: TrainerState,
        control: object,
        logs: Mapping[str, Any] | None = None,
        **kwargs: object,
    ) -> None:
        """Keep the losses and the scores."""
        found = {name.removeprefix("eval_"): value for name, value in (logs or {}).items() if _is_told(name)}
        self._figures |= {name.replace("_", " "): f"{value:.3g}" for name, value in found.items()}
        self._move(state)

    def _move(self, state: TrainerState) -> None:
        bar = open_step()
        if bar is not None:
            bar.unit = "steps"
            bar.move(state.global_step, state.max_steps, self._figures)


def _is_told(name: str) -> bool:
    is_rate = name.endswith(("_per_second", "_runtime", "_weight")) or name.startswith("train_")
    return name not in LEFT_OUT and not is_rate
