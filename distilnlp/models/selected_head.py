"""Run a vocabulary head on chosen positions only: masked language modelling needs few of its many logits."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn

from distilnlp.errors import DistillationError
from distilnlp.models.captures import bare_model


@contextmanager
def head_on(model: nn.Module, positions: Tensor) -> Iterator[None]:
    """Let a masked language model compute the logits of chosen positions only, in the forward passes in the block.

    The head's modules get the hidden states of these positions, `[count, width]`, where they would get all. A model
    whose head cannot be reached in this way gives all logits as ever: read the logits by `logits_at` in either case.
    Everything else that the model gives is as ever. Pass no labels: the model's own loss would not fit them.

    Args:
        model: a model for masked language modelling; DDP may wrap it.
        positions: bool `[batch, length]`, True where logits are wanted.

    Raises:
        DistillationError: the model has no vocabulary head, so that its head may look at more than one position.
    """
    inner = bare_model(model)
    if inner.get_output_embeddings() is None:
        raise DistillationError(
            f"a head can run on chosen positions if it gives logits over the vocabulary at each, but "
            f"{type(inner).__name__} has no such head. Use a model for masked language modelling."
        )

    def select(_module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
        states = args[0] if args else None
        if isinstance(states, Tensor) and states.dim() == 3 and states.shape[:2] == positions.shape:
            return (states[positions], *args[1:])
        return args

    with ExitStack() as hooks:
        for module in inner.children():
            if module is not inner.base_model:
                hooks.enter_context(module.register_forward_pre_hook(select))
        yield


def logits_at(logits: Tensor, positions: Tensor) -> Tensor:
    """Return the logits of chosen positions, whether the model computed all or, inside `head_on`, only these.

    Args:
        logits: `[batch, length, vocabulary]`, or `[count, vocabulary]` from inside `head_on`.
        positions: bool `[batch, length]`.

    Returns:
        `[count, vocabulary]`, in row-major order of the positions.
    """
    return logits if logits.dim() == 2 else logits[positions]
