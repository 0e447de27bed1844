"""Which attention heads and feed-forward neurons of a model matter on sample text, told by gradients."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.losses import cross_entropy
from distilnlp.losses.reduction import at_least_float32
from distilnlp.models.families import find_family, find_narrowable
from distilnlp.models.running import in_eval_mode
from distilnlp.signals import NO_LABEL, Batch, named_inputs, select_inputs, token_mask
from distilnlp.tasks import Task, task_of

HOW_TO_SAMPLE = (
    "From a few hundred texts of the kind that the student will read: sample=[tokenizer(texts[i:i + 16], padding=True, "
    'truncation=True, return_tensors="pt") for i in range(0, len(texts), 16)].'
)


def head_importance(model: PreTrainedModel, batches: Sequence[Batch]) -> Tensor:
    """Estimate by how much the model's loss would change without a head, for every attention head (arXiv 1905.10650).

    The estimate is the mean over tokens of |gradient · activation|, where the activation is the part of the context
    vector that comes from the head: what enters the linear layer behind the attention. Padding does not count. The
    gradient is that of the sum over all items of

    - the task's hard loss, in a batch where an item has a label;
    - the cross-entropy with the model's own predictions, in any other batch;
    - half the squared norm of the last hidden states, where there is nothing to predict: in a model without a head or
      with one for a score, and in a masked LM on text without masked tokens.

    The model stays as it is: its modes, gradients and config.

    Args:
        model: a model of a supported family, with any head or none.
        batches: tokenised batches of tensors, as the model and, for labels, its task read them.

    Returns:
        `[layers, heads]`, at least 0, in units of the objective.

    Raises:
        DistillationError: if the family is not supported or the batches are empty or not tokenised.
    """
    family = find_narrowable(model.config.model_type)
    return _importance(model, batches, family.attention_output, model.config.num_attention_heads)


def neuron_importance(model: PreTrainedModel, batches: Sequence[Batch]) -> Tensor:
    """Estimate by how much the loss would change without a neuron, for every feed-forward neuron (arXiv 1906.10771).

    As `head_importance`; the activation is what enters the second linear layer of the feed-forward network.

    Returns:
        `[layers, intermediate size]`, at least 0.
    """
    family = find_narrowable(model.config.model_type)
    assert family.ffn is not None
    return _importance(model, batches, family.ffn[1], getattr(model.config, family.ffn_size))


def _importance(model: PreTrainedModel, batches: Sequence[Batch], path: str, units: int) -> Tensor:
    """Average |gradient · activation| of each unit in what enters the module at this path of every layer."""
    layers = model.base_model.get_submodule(find_family(model.config.model_type).layers)
    modules = [layer.get_submodule(path) for layer in layers.children()]
    total, tokens = torch.zeros(len(modules), units, dtype=torch.float64), 0
    with in_eval_mode(model), torch.enable_grad():
        for batch in batches_for(model, batches):
            mask = token_mask(batch)
            objective, activations = _run(model, modules, batch)
            gradients = torch.autograd.grad(objective, activations, allow_unused=True, materialize_grads=True)
            for layer, (gradient, activation) in enumerate(zip(gradients, activations, strict=True)):
                product = at_least_float32(gradient) * at_least_float32(activation.detach())
                total[layer] += product[mask].unflatten(-1, (units, -1)).sum(dim=-1).abs().sum(dim=0).cpu()
            tokens += int(mask.sum())
    return total / max(tokens, 1)


def _run(model: PreTrainedModel, modules: Sequence[nn.Module], batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """Return the objective, and what entered each of the modules: `[texts, length, width]`, with a graph."""
    activations: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        # In a frozen model the graph begins at the first of these.
        entering = args[0] if args[0].requires_grad else args[0].detach().requires_grad_()
        activations.append(entering)
        return (entering, *args[1:])

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_pre_hook(keep))
        outputs = run_model(model, batch, output_hidden_states=True)
    return _objective(model, outputs, batch), activations


def _objective(model: PreTrainedModel, outputs: Any, batch: Batch) -> Tensor:
    """Return the scalar whose gradient tells the importance; see `head_importance`."""
    task = _task_of(model)
    if task is not None:
        logits = task.read_logits(outputs, batch)
        if task.labelled_items(batch).any():
            return task.hard_loss(logits, batch, 1)
        if task.answer != "score" and task.valid_items(batch).any():
            return _against_own_prediction(task, task.item_logits(logits), batch)
    return outputs.hidden_states[-1][token_mask(batch)].square().sum() / 2


def _task_of(model: PreTrainedModel) -> Task | None:
    try:
        return task_of(model)
    except DistillationError:
        return None


def _against_own_prediction(task: Task, logits: Tensor, batch: Batch) -> Tensor:
    """Sum the cross-entropy of `[*items, classes]` with the most probable class over the items that count."""
    exists, counts = task.class_mask(batch), task.valid_items(batch)
    predicted = (logits if exists is None else logits.masked_fill(~exists, -math.inf)).argmax(dim=-1)
    counts = counts.reshape(*counts.shape, *[1] * (predicted.dim() - counts.dim()))
    return cross_entropy(logits, predicted.masked_fill(~counts, NO_LABEL), 1, exists)


# ---- Running a model on sample text ----


def batches_for(model: PreTrainedModel, batches: Sequence[Batch]) -> Iterator[Batch]:
    """Yield the tensors of each batch on the model's device."""
    if not batches:
        raise DistillationError(f"The sample must hold at least one batch; got none. {HOW_TO_SAMPLE}")
    for batch in batches:
        if not isinstance(batch, Mapping) or not isinstance(batch.get("input_ids"), Tensor):
            raise DistillationError(
                "The sample must be a list of tokenised batches, each a mapping with a tensor under 'input_ids'; got "
                f"a batch of type {type(batch).__name__}. {HOW_TO_SAMPLE}"
            )
        yield {name: value.to(model.device) for name, value in batch.items() if isinstance(value, Tensor)}


def run_model(model: PreTrainedModel, batch: Batch, **options: Any) -> Any:
    """Return the outputs of a model for what it names of a batch, without labels."""
    return model(**select_inputs(batch, named_inputs(model)), return_dict=True, **options)
