"""What trains, as one module: the student, and the projections that its feature losses learn beside it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from distilnlp.models.captures import capturing, eager_attention
from distilnlp.objective import Objective
from distilnlp.signals import Batch, SignalRequest, Signals, named_inputs
from distilnlp.tasks import Task
from distilnlp.tasks.forward import forward


class Trained(nn.Module):
    """The student and the projections: what is wrapped for several processes, optimised and clipped together.

    Projections run in its forward pass, so that DDP sees them used. The student does not know of them: it is saved,
    copied and loaded as ever. What else is asked of this module (a config, a device), the student answers.

    Args:
        student: a transformers model.
        task: of its head.
        objective: has the projections, and says which of the student's signals it reads.
    """

    def __init__(self, student: nn.Module, task: Task, objective: Objective) -> None:
        super().__init__()
        self.student, self.projections = student, objective.projections
        self.inputs = named_inputs(student)
        self._task, self._request = task, objective.student_request

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            student = self.__dict__.get("_modules", {}).get("student")  # none in a copy that is being made
            # Accelerate marks what it prepared, and takes a student that was only evaluated for what trains.
            if student is None or (name.startswith("_") and not hasattr(type(student), name)):
                raise
            return getattr(student, name)

    def forward(self, **inputs: Any) -> tuple[Any, dict[str, Tensor]]:
        """Return the student's own outputs, and its projected states by projection key."""
        with capturing(self.student, pre_activations=self.projections.neurons.values()) as captures:
            outputs = self.student(**inputs)
        return outputs, self.projections(outputs.get("hidden_states"), captures.pre_activations)

    def is_in(self, model: nn.Module) -> bool:
        """Whether a model is this module, possibly wrapped for parallel training or compilation."""
        return extract_model_from_parallel(model, keep_torch_compile=False) is self

    def signals(
        self, model: nn.Module, batch: Batch, is_training: bool, whole_head: bool = False
    ) -> tuple[Signals, Any]:
        """Run the student on a batch.

        Args:
            model: this module or the student, possibly wrapped.
            batch: see `forward` of the tasks, also for what is returned.
            is_training: also give what the objective reads beside the logits.
            whole_head: see there.
        """
        running = self if model is self.student else model
        has_all, projected = self.is_in(running), {}

        def run(**inputs: Any) -> Any:
            outputs = running(**inputs)
            if has_all:  # an evaluation may wrap the student alone
                outputs, states = outputs
                projected.update(states)
            return outputs

        request = self._request if is_training else SignalRequest()
        signals, outputs = forward(self.student, self._task, batch, self.inputs, request, whole_head, run)
        return replace(signals, projected=projected), outputs

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Put the projections where the student is, and let it give attention maps if they are read, in the block."""
        reference = next(self.student.parameters())
        self.projections.to(device=reference.device, dtype=reference.dtype)
        with eager_attention(self.student) if self._request.attentions else nullcontext():
            yield
