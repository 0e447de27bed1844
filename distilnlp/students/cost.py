"""What a model will cost, told from its shapes alone: parameters, bytes, work for each token, likely speed-up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode  # where torch documents it
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.models.families import FAMILIES, Family
from distilnlp.models.shapes import longest_readable, on_shapes
from distilnlp.signals import TOKENS
from distilnlp.students.given_models import Source, as_model
from distilnlp.students.layers import check_whole
from distilnlp.tasks import TASKS

PARTS = ("embeddings", "attention", "feed_forward", "norms", "head", "other")
ABSENT = "–"
UNKNOWN = "not estimated"

# How many operations a matrix product does in the time that it takes to make one activation. Fitted to BERTs from 12
# layers of width 768 down to 2 of width 128, in float32 on a CPU: benchmarks/student_cost.py.
FLOPS_PER_ACTIVATION = 75


@dataclass(frozen=True)
class Cost:
    """What a model costs; printed, it is a table, with the reference beside it.

    Attributes:
        parameters: of each part, tied ones counted once. `embeddings` are the `nn.Embedding` tables; `attention` and
            `feed_forward` lie in the layers; `head` is what comes after the encoder, poolers included; `other` is what
            is left: the whole encoder but its tables and norms, where the family is not one of ours.
        bytes: of the parameters, in the dtypes that they have.
        flops_per_token: of the matrix products in a forward pass, two to a multiplication; what runs once a text is
            spread over its tokens. None where an architecture decides by values what it computes, as Longformer, XLM
            and BART do, so that shapes do not tell.
        activations_per_token: values that the operations of that pass write, attention maps included; None likewise.
        length: tokens in the text.
        reference: cost of the model to compare with, if there is one.
    """

    parameters: Mapping[str, int]
    bytes: int
    flops_per_token: float | None
    activations_per_token: float | None
    length: int
    reference: "Cost | None" = None

    @property
    def total_parameters(self) -> int:
        """Parameters of all parts."""
        return sum(self.parameters.values())

    @property
    def speed_up(self) -> float | None:
        """Estimated seconds of the reference over those of the model, in full batches; None if either is not known."""
        own, other = self._work_per_token, None if self.reference is None else self.reference._work_per_token
        return None if own is None or other is None else other / own

    @property
    def _work_per_token(self) -> float | None:
        if self.flops_per_token is None or self.activations_per_token is None:
            return None
        return self.flops_per_token + FLOPS_PER_ACTIVATION * self.activations_per_token

    def __str__(self) -> str:
        columns = [_figures(each) for each in (self, self.reference) if each is not None]
        rows = [["", "model"] if self.reference is None else ["", "model", "reference", "ratio"]]
        for title, own in columns[0].items():
            others = [column[title] for column in columns[1:]]
            if own != 0 or any(other != 0 for other in others):
                ratios = (f"{other / own:.1f}×" if own and other is not None else ABSENT for other in others)
                rows.append([title, *map(_short, (own, *others)), *ratios])
        if self.speed_up is not None:
            rows.append(["speed-up, estimated", "", "", f"{self.speed_up:.1f}×"])
        return _aligned(rows)


def estimate_cost(
    model: PreTrainedModel | Source, reference: PreTrainedModel | Source | None = None, *, length: int = 128
) -> Cost:
    """Tell what a model costs, beside a reference such as its teacher, without computing anything.

    Only shapes count: the weights may be random, or absent (a model built under `torch.device("meta")`). The models
    stay as they are.

    The speed-up is the ratio of `flops_per_token + 75 · activations_per_token`, because a narrow model spends much of
    its time outside of matrix products. It stands for full batches in float32 on a CPU: against BERT-base, for BERTs
    from 6 layers of width 768 to 1 of 384 and texts of 32 to 512 tokens, it came within 15% of what was measured; for 2
    layers of width 128 it was up to 40% too high, and the ratio of the FLOPs alone up to twice too high. The faster the
    matrix products and the smaller the batch, the less a narrow model gains: with the bfloat16 units of a CPU, 6 layers
    of 384 were 5.0 times as fast and not 6.8, 2 layers of 128 47 times and not 128. No GPU was measured.

    Args:
        model: any encoder with any head, or its folder or Hub id.
        reference: what to compare with, likewise.
        length: tokens in a text, without padding.

    Raises:
        DistillationError: if a model cannot read a text of that length.
    """
    check_whole(length=length)
    cost = _cost_of(as_model(model), length)
    return cost if reference is None else replace(cost, reference=_cost_of(as_model(reference), length))


def _cost_of(model: PreTrainedModel, length: int) -> Cost:
    limit = longest_readable(model)
    if length < 1 or (limit is not None and length > limit):
        most = "at least 1" if limit is None else f"between 1 and {limit}, the most tokens that this model can read"
        raise DistillationError(
            f"length must be {most} ({model.config.model_type}); got {length}. Give the length of your texts in tokens."
        )
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    flops, activations = _work_per_token(model, length)
    return Cost(_count_parameters(model), size, flops, activations, length)


# ---- Parameters ----


def _count_parameters(model: PreTrainedModel) -> dict[str, int]:
    family = FAMILIES.get(model.config.model_type)
    parts: dict[nn.Parameter, str] = {}
    for path, module in model.base_model.named_modules():
        for parameter in module.parameters(recurse=False):
            parts.setdefault(parameter, _part_of(path, module, family))
    for parameter in model.parameters():  # after the base model, so that a tied decoder is an embedding
        parts.setdefault(parameter, "head")
    return {part: sum(p.numel() for p, own in parts.items() if own == part) for part in PARTS}


def _part_of(path: str, module: nn.Module, family: Family | None) -> str:
    """Name the part that a module of the base model belongs to; its path begins in the base model."""
    if isinstance(module, nn.Embedding):
        return "embeddings"
    if "Norm" in type(module).__name__:
        return "norms"
    if path.startswith("pooler"):
        return "head"
    if family is None or not path.startswith(f"{family.layers}."):
        return "other"
    inside = path.removeprefix(f"{family.layers}.").partition(".")[2]
    attention = family.attention.partition(".")[0]
    return "attention" if f"{inside}.".startswith(f"{attention}.") else "feed_forward"


# ---- Work ----


def _work_per_token(model: PreTrainedModel, length: int) -> tuple[float, float] | tuple[None, None]:
    """Return FLOPs and activations of a text for each of its tokens; None where shapes do not tell them."""
    shape = next((task.row_shape(length) for task in TASKS.values() if task.is_head_of(model)), (length,))
    flops, activations = FlopCounterMode(display=False), _ActivationCounter()
    try:
        with on_shapes(model) as skeleton, flops, activations:
            repeated = _run_like_layers_once(skeleton, lambda: (flops.get_total_flops(), activations.total))
            values = torch.ones((1, *shape), dtype=torch.long)
            skeleton(**{TOKENS.values: values, TOKENS.mask: torch.ones_like(values)})
    except Exception:  # what a pass without values can raise has no common kind
        return None, None
    more_flops, more_activations = map(sum, zip((0, 0), *repeated, strict=True))
    return (flops.get_total_flops() + more_flops) / length, (activations.total + more_activations) / length


def _run_like_layers_once(skeleton: PreTrainedModel, count: Callable[[], tuple[int, int]]) -> list[tuple[int, int]]:
    """Let each layer that is like one before it give what that one gave, at once: the first one tells its work.

    Returns:
        What `count` would have counted of the others, to be filled by the forward pass.
    """
    family, repeated = FAMILIES.get(skeleton.config.model_type), []
    first: dict[Any, Any] = {}
    for layer in skeleton.base_model.get_submodule(family.layers).children() if family else ():
        kind = (type(layer), *(parameter.shape for parameter in layer.parameters()))

        def run(*args: Any, _run: Any = layer.forward, _kind: Any = kind, **kwargs: Any) -> Any:
            if _kind in first:
                output, work = first[_kind]
                repeated.append(work)
                return output
            before = count()
            output = _run(*args, **kwargs)
            first[_kind] = output, tuple(now - then for now, then in zip(count(), before, strict=True))
            return output

        layer.forward = run
    return repeated


class _ActivationCounter(TorchDispatchMode):
    """Counts the values that operations write; a view writes none. It sees operations, not modules: residuals too."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> object:
        outputs = func(*args, **(kwargs or {}))
        if not func.is_view and func is not torch.ops.aten._unsafe_view.default:
            self.total += sum(output.numel() for output in tree_leaves(outputs) if isinstance(output, Tensor))
        return outputs


# ---- The table ----


def _figures(cost: Cost) -> dict[str, float | None]:
    return {
        **{f"parameters: {part.replace('_', '-')}": count for part, count in cost.parameters.items()},
        "parameters: all": cost.total_parameters,
        "bytes": cost.bytes,
        f"FLOPs a token, texts of {cost.length}": cost.flops_per_token,
    }


def _short(figure: float | None) -> str:
    """Write a figure with a prefix: 66,955,010 is `67.0 M`."""
    if figure is None:
        return UNKNOWN
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if figure >= limit:
            return f"{figure / limit:.1f} {prefix}"
    return f"{figure:.0f}"


def _aligned(rows: list[list[str]]) -> str:
    """Pad cells to the width of their column, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[first.ljust(widths[0]), *map(str.rjust, others, widths[1:])] for first, *others in rows]
    return "\n".join(map("  ".join, lines))
