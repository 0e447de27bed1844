"""One forward pass of a student or a teacher, and the signals that it gives."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from distilnlp.errors import DistillationError
from distilnlp.models.captures import capturing
from distilnlp.models.selected_head import head_on
from distilnlp.signals import Batch, SignalRequest, Signals, select_inputs, token_mask
from distilnlp.tasks.task import Task


def forward(
    model: nn.Module,
    task: Task,
    batch: Batch,
    names: frozenset[str],
    request: SignalRequest,
    whole_head: bool = False,
    run: Callable[..., Any] | None = None,
) -> tuple[Signals, Any]:
    """Run a model on a batch; return its signals, and its own outputs.

    Args:
        model: a transformers model; DDP may wrap it.
        task: of its head.
        batch: may have further entries than the model's inputs.
        names: the inputs that the model names.
        request: the signals that are wanted beside the logits.
        whole_head: run the head on every token, also where the task needs it on some only.
        run: calls what has the model inside of it, and gives the model's outputs; None = the model itself.

    Raises:
        DistillationError: hidden states are wanted, and the model gives none of each token.
    """
    positions = None if whole_head else task.head_positions(batch)
    with (
        capturing(model, request.attentions, request.qkv, request.pre_activations) as captures,
        nullcontext() if positions is None else head_on(model, positions),
    ):
        inputs = select_inputs(batch, names)
        outputs = (run or model)(**inputs, output_hidden_states=bool(request.hidden_states), return_dict=True)
    mask = token_mask(batch, task.modality)
    signals = Signals(
        logits=task.read_logits(outputs, batch),
        mask=mask,
        hidden_states=_of_each_token(model, outputs, mask, request.hidden_states) if request.hidden_states else None,
        attentions=captures.attentions,
        qkv=captures.qkv,
        pre_activations=captures.pre_activations,
    )
    return signals, outputs


def _of_each_token(model: nn.Module, outputs: Any, mask: Tensor, indices: frozenset[int]) -> tuple[Tensor, ...]:
    """Return a model's hidden states, if they are as long as the texts: some architectures pad, pool or leave out."""
    states = getattr(outputs, "hidden_states", None) or ()
    shapes = [tuple(state.shape[:2]) for state in states]
    if len(states) <= max(indices) or any(shapes[index] != mask.shape for index in indices):
        raise DistillationError(
            f"hidden states {sorted(indices)} of each of {list(mask.shape)} tokens are needed, but "
            f"{type(model).__name__} gave {len(states)}, for {sorted(set(shapes))}. Keep to losses on logits, or use a "
            "model of another architecture."
        )
    return states
