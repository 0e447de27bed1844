"""Fit the layers of a narrower student to the inputs that are left, by the teacher's activations on sample text.

What the cut inputs of a linear layer gave is taken over by the inputs that are kept, as far as these can tell; the gain
and bias of a norm follow the mean and variance over fewer coordinates.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.losses.reduction import at_least_float32
from distilnlp.signals import Batch, token_mask
from distilnlp.students.importance import batches_for, run_model

# Of each axis of a weight that changes, what becomes of it: the indices `[new]` that are kept, or a matrix
# `[old, new]`, mostly a projection with orthonormal columns.
Cut = Mapping[int, Tensor]

STEADY = 1e-6  # variance of a normalised coordinate, on average 1, that is too small to fit a gain to
TINY = 1e-12  # keeps a division by zero away


def shorten(tensor: Tensor, axis: int, kept: Tensor) -> Tensor:
    """Keep some entries of an axis, or multiply it by a matrix."""
    kept = kept.to(tensor.device)
    if kept.dim() == 1:
        return tensor.index_select(axis, kept)
    exact = at_least_float32(tensor)
    return torch.tensordot(exact, kept.to(exact), dims=([axis], [0])).movedim(-1, axis).to(tensor)


def cut_weight(weight: Tensor, cut: Cut) -> Tensor:
    """Shorten every axis of a weight that the cut names."""
    for axis, kept in cut.items():
        weight = shorten(weight, axis, kept)
    return weight


class Fit(Protocol):
    """Collects what enters and leaves a module of the teacher at the real tokens, and gives its weights anew.

    Attributes:
        tokens: how many were seen.
    """

    tokens: int

    def see(self, entering: Tensor, leaving: Tensor) -> None:
        """Take in `[tokens, width]` before and after the module."""

    def weights(self) -> dict[str, Tensor]:
        """Return the fitted weights by name in the module."""


class LinearFit:
    """Fits a linear layer to the inputs that are left: from x ↦ W x to z ↦ W R z, where z is x cut and R z predicts x.

    R is the least squares solution over the tokens, with a ridge that holds it to putting z back in its place. A token
    weighs 1 / (‖W x‖² + the batch's median), so that a few with huge activations, as separators often have, do not
    decide for all others. The ridge adds one mean token's energy in every direction: it fades as the sample grows.
    """

    def __init__(self, layer: nn.Linear, cut: Cut) -> None:
        self._layer, self._cut = layer, cut
        self._moments, self.tokens = torch.zeros(()), 0

    def see(self, entering: Tensor, leaving: Tensor) -> None:
        """Add to Σ z xᵀ: `[new, old]`."""
        effect = leaving if self._layer.bias is None else leaving - self._layer.bias
        energy = torch.linalg.vector_norm(effect, dim=-1).square()
        rows = entering * (energy + energy.median()).clamp_min(TINY).rsqrt().unsqueeze(-1)
        self._moments = self._moments.to(rows) + shorten(rows, -1, self._cut[1]).T @ rows
        self.tokens += len(rows)

    def weights(self) -> dict[str, Tensor]:
        """Return the weight, cut."""
        moments, weight = self._moments.cpu().double(), self._layer.weight.cpu().double()
        own, plain = shorten(moments, 1, self._cut[1]), shorten(weight, 1, self._cut[1])
        ridge = (own.trace() / self.tokens).clamp_min(TINY) * torch.eye(len(own), dtype=own.dtype)
        lost = weight @ moments.T - plain @ own  # Σ (W x − plain z) zᵀ
        fitted = plain + torch.linalg.solve(own + ridge, lost.T).T
        rows = {axis: kept for axis, kept in self._cut.items() if axis == 0}
        return {"weight": cut_weight(fitted, rows).to(self._layer.weight)}


class NormFit:
    """Fits gain and bias of a norm over fewer coordinates: each is regressed on its own normalised value.

    Args:
        norm: of the teacher.
        entering: makes what will enter the student's norm of what enters this one, `[tokens, width]`.
        leaving: makes what should leave it of what leaves this one.
    """

    def __init__(
        self, norm: nn.LayerNorm, entering: Callable[[Tensor], Tensor], leaving: Callable[[Tensor], Tensor]
    ) -> None:
        self._norm, self._entering, self._leaving = norm, entering, leaving
        self._sums, self.tokens = torch.zeros(()), 0

    def see(self, entering: Tensor, leaving: Tensor) -> None:
        """Add to the sums of u, t, u², u · t: u is the cut input normalised anew, t the cut output."""
        fewer, target = self._entering(entering), self._leaving(leaving)
        normal = F.layer_norm(fewer, fewer.shape[-1:], eps=self._norm.eps)
        sums = torch.stack([normal, target, normal.square(), normal * target]).sum(dim=1)
        self._sums = self._sums.to(sums) + sums
        self.tokens += len(entering)

    def weights(self) -> dict[str, Tensor]:
        """Return the gain and, where the norm has one, the bias. What does not vary in the sample stays at its mean."""
        normal, target, square, product = self._sums.cpu().double() / self.tokens
        if self._norm.bias is not None:
            square, product = square - normal.square(), product - normal * target
        gain = torch.where(square > STEADY, product / square, 0.0)
        fitted = {"weight": gain, "bias": target - gain * normal}
        return {name: fitted[name].to(weight) for name, weight in self._norm.named_parameters()}


def _fits(teacher: PreTrainedModel, cuts: Mapping[str, Cut]) -> dict[str, Fit]:
    """Return a new fit for each module that needs one, by its path; a decoder tied to embeddings is cut like them."""
    tied = {id(module.weight) for module in teacher.modules() if isinstance(module, nn.Embedding)}
    fits: dict[str, Fit] = {}
    for path, module in teacher.named_modules():
        cut = cuts.get(f"{path}.weight", {})
        if isinstance(module, nn.Linear) and 1 in cut and id(module.weight) not in tied:
            fits[path] = LinearFit(module, cut)
        elif isinstance(module, nn.LayerNorm) and cut:
            shortened = partial(shorten, axis=-1, kept=cut[0])
            fits[path] = NormFit(module, shortened, shortened)
    return fits


def fit_weights(
    teacher: PreTrainedModel, cuts: Mapping[str, Cut], sample: Sequence[Batch], further: Mapping[str, Fit]
) -> dict[str, Tensor]:
    """Return the weights of all linear layers that lose inputs and norms that lose coordinates, and further ones."""
    fits = {**_fits(teacher, cuts), **further}
    modules = {path: teacher.get_submodule(path) for path in fits}
    for batch in batches_for(teacher, sample):
        mask = token_mask(batch)
        with ExitStack() as hooks:
            for path, fit in fits.items():
                hooks.enter_context(modules[path].register_forward_hook(partial(_show, fit, mask)))
            run_model(teacher, batch)
    idle = [path for path, fit in fits.items() if not fit.tokens]
    if idle:
        raise DistillationError(
            f"Every layer of the teacher that is cut must run on the sample; {', '.join(idle)} did not, so that it "
            "cannot be fitted. Keep the teacher's width, or choose a teacher without it."
        )
    return {f"{path}.{name}": weight for path, fit in fits.items() for name, weight in fit.weights().items()}


def _show(fit: Fit, mask: Tensor, _module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
    fit.see(_real_rows(args[0], mask), _real_rows(output, mask))


def _real_rows(states: Tensor, mask: Tensor) -> Tensor:
    """Return `[rows, width]` without padding; every row of what has no tokens (pooled texts, positions)."""
    rows = states[mask] if states.shape[:-1] == mask.shape else states.flatten(end_dim=-2)
    return at_least_float32(rows)
