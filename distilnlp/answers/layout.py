"""What is kept of a batch of signals, row by row without padding, and how it becomes a batch again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from distilnlp.losses import QueryKeyValue
from distilnlp.signals import Batch, SignalProfile, SignalRequest, Signals, token_mask
from distilnlp.tasks import Task

NO_MASS = -1e4  # a logit that means nothing is left, in float16 too
LOGITS, TOP_IDS, REST = "logits", "top_ids", "rest"
PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class Kept:
    """One tensor of a batch: `values[mask]` is kept, row after row.

    Attributes:
        values: `[*mask, *inner]`.
        mask: bool, rows first; what counts.
    """

    values: Tensor
    mask: Tensor

    def by_row(self) -> tuple[Tensor, Tensor]:
        """Return the kept numbers, flat, and how many of them each row has."""
        flat = self.values[self.mask].flatten()
        per_entry = self.values[(0,) * self.mask.dim()].numel()
        return flat, self.mask.flatten(1).sum(dim=1) * per_entry


def kept_signals(
    task: Task, batch: Batch, signals: Signals, request: SignalRequest, top_k: int, temperature: float = 1.0
) -> dict[str, Kept]:
    """Return what is kept of a batch, by field name: the logits that count, and what is requested beside them.

    Of a vocabulary these are the `top_k` largest of each token, and the mass of the others at the temperature.
    """
    fields = _top(signals.logits, _drawn(task, batch), top_k, temperature) if task.classes_are_tokens else {}
    if not fields:
        fields[LOGITS] = Kept(signals.logits, logit_mask(task, batch, signals.logits.shape[-1]))
    rows = len(next(iter(batch.values())))
    mask = token_mask(batch)
    states = {f"hidden_state_{index}": (signals.hidden_states or {})[index] for index in sorted(request.hidden_states)}
    for index in sorted(request.qkv):
        for part, heads in zip(PARTS, signals.qkv[index], strict=True):
            states[f"{part}_{index}"] = heads.transpose(1, 2).flatten(2)
    for name, state in states.items():  # [texts, length, width]
        fields[name] = Kept(state.reshape(rows, -1, *state.shape[2:]), mask.reshape(rows, -1))
    return fields


def logit_mask(task: Task, batch: Batch, num_classes: int) -> Tensor:
    """Bool, of the logits' shape: which of them a loss reads. Not where the classes are tokens."""
    counts = task.valid_items(batch).unsqueeze(-1)
    exists = task.class_mask(batch)
    return counts & exists if exists is not None else counts.expand(*counts.shape[:-1], num_classes)


def field_names(task: Task, request: SignalRequest) -> list[str]:
    """Return the fields that a cache of these signals has."""
    logits = [LOGITS, TOP_IDS, REST] if task.classes_are_tokens else [LOGITS]
    states = [f"hidden_state_{index}" for index in sorted(request.hidden_states)]
    return [*logits, *states, *(f"{part}_{index}" for index in sorted(request.qkv) for part in PARTS)]


def restore(
    task: Task, batch: Batch, fields: Mapping[str, Tensor], profile: SignalProfile, request: SignalRequest, top_k: int
) -> dict[str, Tensor]:
    """Return the fields of a batch as padded tensors, rows first: of `fields`, the kept numbers of these rows, flat.

    The batch has the rows as the teacher read them, in any company; for the rest see `kept_signals`.
    """
    restored = {}
    if task.classes_are_tokens:
        drawn, width = _drawn(task, batch), min(top_k, profile.num_labels)
        for name, inner in ((LOGITS, (width,)), (TOP_IDS, (width,)), (REST, ())):
            restored[name] = _padded(fields[name], drawn, inner)
    else:
        restored[LOGITS] = _padded(fields[LOGITS], logit_mask(task, batch, profile.num_labels), ())
    tokens = token_mask(batch) if request.hidden_states or request.qkv else None
    for name in field_names(task, request):
        if name not in restored and tokens is not None:
            restored[name] = _padded(fields[name], tokens, (profile.hidden_size,))
    return restored


def as_signals(
    task: Task, batch: Batch, fields: Mapping[str, Tensor], profile: SignalProfile, request: SignalRequest
) -> Signals:
    """Return the signals of a batch from its padded fields."""
    logits = fields[LOGITS]
    if task.classes_are_tokens:  # tokens that were not kept share the rest evenly at the temperature
        drawn = _drawn(task, batch)
        top, ids, rest = logits[drawn], fields[TOP_IDS][drawn], fields[REST][drawn]
        others = max(profile.num_labels - top.shape[-1], 1)
        share = (profile.temperature or 1.0) * (rest.float() - math.log(others))
        logits = share.unsqueeze(-1).repeat(1, profile.num_labels).scatter(-1, ids.long(), top.float())
    states = {index: fields[f"hidden_state_{index}"] for index in request.hidden_states}
    heads = (profile.num_heads, -1)
    qkv = {
        index: QueryKeyValue(*(fields[f"{part}_{index}"].unflatten(-1, heads).transpose(1, 2) for part in PARTS))
        for index in request.qkv
    }
    mask = token_mask(batch, task.modality) if task.modality.values in batch else None
    return Signals(logits=logits, mask=mask, hidden_states=states or None, qkv=qkv)


def _padded(flat: Tensor, mask: Tensor, inner: tuple[int, ...]) -> Tensor:
    padded = flat.new_zeros(*mask.shape, *inner)
    padded[mask] = flat.reshape(-1, *inner)
    return padded


# ---- A vocabulary's logits ----


def _drawn(task: Task, batch: Batch) -> Tensor:
    """Bool `[batch, length]`: the tokens that have logits over the vocabulary."""
    positions = task.head_positions(batch)
    return token_mask(batch, task.modality) if positions is None else positions


def _top(logits: Tensor, drawn: Tensor, top_k: int, temperature: float) -> dict[str, Kept]:
    """Keep the largest logits `[tokens, top_k]`, their ids, and the logsumexp of the others, softened."""
    top = logits.float().topk(min(top_k, logits.shape[-1]), dim=-1)
    others = (logits.float() / temperature).scatter(-1, top.indices, -torch.inf).logsumexp(dim=-1)
    return {
        name: Kept(_padded(values, drawn, tuple(values.shape[1:])), drawn)
        for name, values in ((LOGITS, top.values), (TOP_IDS, top.indices.int()), (REST, others.clamp(min=NO_MASS)))
    }
