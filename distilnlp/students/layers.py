"""Which of the teacher's layers the student keeps."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Literal, get_args

from distilnlp.errors import DistillationError, did_you_mean, shown

LayerStrategy = Literal["uniform", "first", "last"]


def select_layers(num_teacher_layers: int, num_layers: int, strategy: LayerStrategy = "uniform") -> list[int]:
    """Choose which teacher layers to keep, 0-based and in ascending order.

    Args:
        num_teacher_layers: depth of the teacher.
        num_layers: depth of the student.
        strategy: "uniform" spreads the layers evenly from the first to the last: 12 to 6 gives 0, 2, 4, 7, 9, 11, the
            layers of DistilBERT (Sanh et al., arXiv 1910.01108); a single layer is the first. "first" and "last" keep
            one end.

    Raises:
        DistillationError: if the strategy is unknown or the depth is not between 1 and the teacher's.
    """
    strategies = get_args(LayerStrategy)
    if strategy not in strategies:
        raise DistillationError(
            f"layer_strategy must be one of {', '.join(strategies)}; got {strategy!r}."
            f"{did_you_mean(strategy, strategies)} To keep other layers, name them in `layers`."
        )
    if not 1 <= num_layers <= num_teacher_layers:
        raise DistillationError(
            f"num_layers must be between 1 and the teacher's {num_teacher_layers} layers; got {num_layers}. "
            "Choose a number in that range."
        )
    if num_layers == 1 and strategy == "uniform":
        return [0]
    if strategy == "uniform":
        # In whole numbers, so that a half, which is rounded up, does not depend on floating point:
        # round(p / q) = (2p + q) // 2q.
        last, gaps = num_teacher_layers - 1, num_layers - 1
        return [(2 * step * last + gaps) // (2 * gaps) for step in range(num_layers)]
    start = 0 if strategy == "first" else num_teacher_layers - num_layers
    return list(range(start, start + num_layers))


def check_whole(**sizes: object) -> None:
    """Refuse sizes, or lists of them, that are not whole numbers; None stands for one that is not given."""
    for name, value in sizes.items():
        numbers = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
        if value is not None and not all(isinstance(one, Integral) and not isinstance(one, bool) for one in numbers):
            raise DistillationError(
                f"{name} must be {'whole numbers' if name == 'layers' else 'a whole number'}; got {shown(value, 80)}. "
                "Write it without a decimal point."
            )


def choose_layers(
    num_teacher_layers: int,
    layers: Sequence[int] | None,
    num_layers: int | None,
    strategy: LayerStrategy,
    *,
    all_by_default: bool,
) -> list[int]:
    """Turn the two ways to ask for a depth into the teacher layers to keep; at most one of the two may be given."""
    if layers is not None and num_layers is not None:
        raise DistillationError(
            f"Give either layers or num_layers, not both; got layers={list(layers)} and num_layers={num_layers}. "
            "Remove one of them."
        )
    if num_layers is not None:
        return select_layers(num_teacher_layers, num_layers, strategy)
    if layers is None and all_by_default:
        return list(range(num_teacher_layers))
    if layers is None:
        raise DistillationError(
            "A student in the teacher's own family needs layers, num_layers or a width (hidden_size, "
            "num_attention_heads, intermediate_size); got none. "
            f"Set num_layers, at most {num_teacher_layers}, or name the teacher layers to keep."
        )
    asked = list(layers)
    if not asked:
        raise DistillationError(
            "layers must name at least one teacher layer; got an empty list. Name the layers to keep."
        )
    unknown = [layer for layer in asked if layer not in range(num_teacher_layers)]
    if unknown:
        raise DistillationError(
            f"layers must lie between 0 and {num_teacher_layers - 1}, because the teacher has {num_teacher_layers} "
            f"layers counted from 0; got {asked}. Remove {unknown}."
        )
    if asked != sorted(set(asked)):
        raise DistillationError(
            f"layers must strictly increase, in the teacher's order and without repeats; got {asked}. "
            f"Use {sorted(set(asked))}."
        )
    return asked
