"""A live teacher: a transformers model that runs beside the student."""

import copy
import logging
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.models.identity import weights_fingerprint
from distilnlp.models.running import bf16_is_fast
from distilnlp.signals import Batch, SignalProfile, SignalRequest, Signals, named_inputs
from distilnlp.tasks import profile_of, task_of
from distilnlp.tasks.forward import forward

logger = logging.getLogger(__name__)


class LiveTeacher:
    """A frozen transformers model: eval mode, no gradient, its own dtype, the inputs that its own signature names.

    Args:
        model: the teacher. It is put in eval mode and frozen. If `dtype` is another than its own, a cast copy is used
            and the weights of the model itself stay as they are. Where attention maps are asked for, it is set to
            eager attention, which alone gives them.
        dtype: the dtype to run in; None keeps the model's; `"auto"` is bf16 for a float32 model where the hardware
            is fast at it, and otherwise keeps the model's.

    Raises:
        DistillationError: the model is for no task that can be distilled, or its head was never trained.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | str | None = None) -> None:
        self.task = task_of(model)
        if has_untrained_head(model):
            raise DistillationError(
                f"expected a teacher that was fine-tuned for the task, but the classification head of this "
                f"{type(model).__name__} was never trained: all its biases are exactly zero, as new heads are. "
                "Fine-tune the teacher first (in a recipe: a `finetune` section under `teacher`), or pass one that is."
            )
        self.columns = named_inputs(model)
        self.profile: SignalProfile = profile_of(model)
        if dtype == "auto":
            dtype = torch.bfloat16 if model.dtype == torch.float32 and bf16_is_fast() else None
        wanted = getattr(torch, dtype) if isinstance(dtype, str) else dtype or model.dtype
        # A model that a Trainer has prepared carries a wrapped forward, with an autocast of its own: use a plain copy.
        is_plain = wanted == model.dtype and "forward" not in vars(model)
        self._model = model if is_plain else _cast_copy(model, wanted)
        self._model.eval().requires_grad_(False)

    @property
    def fingerprint(self) -> str:
        """What identifies the teacher's answers: a hash of its weights, in the dtype that it runs in."""
        return weights_fingerprint(self._model)

    def to(self, device: torch.device) -> None:
        """Move the model to a device."""
        self._model.to(device)  # type: ignore[arg-type]

    @torch.no_grad()
    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Run the model on the inputs it names."""
        if any(module.training for module in self._model.modules()):
            self._model.eval()  # somebody else uses the model, or a part of it: dropout must not reach the targets
        if request.attentions and self._model.config._attn_implementation != "eager":
            logger.info("the teacher uses eager attention, because a loss reads its attention maps")
            self._model.set_attn_implementation("eager")
        with torch.autocast(self._model.device.type, enabled=False):  # its own dtype, whatever the student's is
            signals, _ = forward(self._model, self.task, batch, self.columns, request)
        return signals


def has_untrained_head(model: PreTrainedModel) -> bool:
    """Tell whether a head still has the exactly zero biases that it was created with.

    The head is the last linear layer outside the base model with as many outputs as the task says. A head without bias
    cannot be judged and counts as trained.
    """
    base, width = model.base_model_prefix, task_of(model).head_width(model.config)
    heads = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == width and name.split(".")[0] != base
    ]
    return bool(heads) and heads[-1].bias is not None and not heads[-1].bias.detach().any().item()


def _cast_copy(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    # Not copy.deepcopy: a wrapped forward would be copied along, and it still calls the original. On no device, for
    # random weights that are overwritten take seconds to draw.
    with torch.device("meta"):
        clone: Any = type(model)(copy.deepcopy(model.config))
    weights = {
        name: value.to(dtype if value.is_floating_point() else value.dtype, copy=True)
        for name, value in model.state_dict().items()
    }
    clone.load_state_dict(weights, assign=True)
    for name, buffer in model.named_buffers():
        if name not in weights:  # positions, rotations: made anew by a model that is loaded, in their own dtype
            owner, _, last = name.rpartition(".")
            setattr(clone.get_submodule(owner), last, buffer.clone())
    clone.tie_weights()
    return clone
