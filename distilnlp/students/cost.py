"""What a model will cost, told from its shapes alone: parameters, bytes, work for each token, likely speed-up."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode  # where torch documents it; so is the next
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import MODEL_FOR_MULTIPLE_CHOICE_MAPPING, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.families import FAMILIES, Family
from distilnlp.students.layers import check_whole
from distilnlp.students.loading import Source, as_model

PARTS = ("embeddings", "attention", "feed_forward", "norms", "head", "other")
ABSENT = "–"

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
            spread over its tokens.
        activations_per_token: values that the operations of that pass write, attention maps included.
        length: tokens in the text.
        reference: cost of the model to compare with, if there is one.
    """

    parameters: Mapping[str, int]
    bytes: int
    flops_per_token: float
    activations_per_token: float
    length: int
    reference: "Cost | None" = None

    @property
    def total_parameters(self) -> int:
        """Parameters of all parts."""
        return sum(self.parameters.values())

    @property
    def speed_up(self) -> float | None:
        """Estimated seconds of the reference over those of the model, in full batches; None without a reference."""
        return None if self.reference is None else self.reference._work_per_token / self._work_per_token

    @property
    def _work_per_token(self) -> float:
        return self.flops_per_token + FLOPS_PER_ACTIVATION * self.activations_per_token

    def __str__(self) -> str:
        return _table(self)


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
    limit = getattr(model.config, "max_position_embeddings", length)
    if not 1 <= length <= limit:
        raise DistillationError(
            f"length must lie between 1 and {limit}, the most tokens that this {model.config.model_type} model has "
            f"positions for; got {length}. Give the length of your texts in tokens."
        )
    flops, activations = _count_work(model, length)
    return Cost(
        parameters=_count_parameters(model),
        bytes=sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()),
        flops_per_token=flops / length,
        activations_per_token=activations / length,
        length=length,
    )


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


def _count_work(model: PreTrainedModel, length: int) -> tuple[int, int]:
    """Return FLOPs and activations of one text."""
    shapes_only = FakeTensorMode()
    skeleton = _without_values(model, shapes_only)
    one_choice = type(model) in MODEL_FOR_MULTIPLE_CHOICE_MAPPING.values()
    flops, activations = FlopCounterMode(display=False), _ActivationCounter()
    with torch.no_grad(), shapes_only, flops, activations:
        input_ids = torch.ones((1, 1, length) if one_choice else (1, length), dtype=torch.long)
        skeleton(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
    return flops.get_total_flops(), activations.total


def _without_values(model: PreTrainedModel, shapes_only: FakeTensorMode) -> PreTrainedModel:
    """Copy a model with tensors that have a shape and no memory in the place of its own."""
    tensors = chain(model.parameters(), model.buffers())
    with shapes_only:
        twins: dict[int, Any] = {id(tensor): torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in tensors}
    skeleton = copy.deepcopy(model, twins)  # takes what the memo has, and so never copies a weight
    skeleton.set_attn_implementation("eager")  # the FLOPs of fused kernels are not all known
    return skeleton.eval()


class _ActivationCounter(TorchDispatchMode):
    """Counts the values that operations write; a view writes none. It sees operations, not modules: residuals too."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if not func.is_view and func is not torch.ops.aten._unsafe_view.default:
            self.total += sum(output.numel() for output in tree_leaves(outputs) if isinstance(output, Tensor))
        return outputs


# ---- The table ----


def _table(cost: Cost) -> str:
    compared = cost.reference is not None
    columns = [_figures(each) for each in (cost, cost.reference) if each is not None]
    rows = [["", "model", "reference", "ratio"] if compared else ["", "model"]]
    for title, own in columns[0].items():
        others = [column[title] for column in columns[1:]]
        if own or any(others):
            ratios = [_times(other / own) if own else ABSENT for other in others]
            rows.append([title, *map(_short, (own, *others)), *ratios])
    if cost.speed_up is not None:
        rows.append(["speed-up, estimated", "", "", _times(cost.speed_up)])
    return _aligned(rows)


def _figures(cost: Cost) -> dict[str, float]:
    return {
        **{f"parameters: {part.replace('_', '-')}": count for part, count in cost.parameters.items()},
        "parameters: all": cost.total_parameters,
        "bytes": cost.bytes,
        f"FLOPs a token, texts of {cost.length}": cost.flops_per_token,
    }


def _times(ratio: float) -> str:
    return f"{ratio:.1f}×"


def _short(figure: float) -> str:
    """Write a figure with a prefix: 66,955,010 is `67.0 M`."""
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if figure >= limit:
            return f"{figure / limit:.1f} {prefix}"
    return f"{figure:.0f}"


def _aligned(rows: list[list[str]]) -> str:
    """Pad cells to the width of their column, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(lines)
