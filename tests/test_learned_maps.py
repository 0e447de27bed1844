"""What is learned beside the student: a layer mapping, and projections."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from distilnlp import DistillationTrainer
from distilnlp.errors import DistillationError
from distilnlp.objective import Objective, parse_losses
from distilnlp.signals import SignalProfile, Signals
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION
from tests.test_loss_fit import trainer_of
from tests.tiny_tasks import task_student
from tests.trainer_tools import assert_same, copy_of

# ---- The connector of neurons ----


def test_a_connector_of_neurons_is_trained_and_kept(tmp_path: Path) -> None:
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    losses = [{"name": "activation_boundary"}, {"name": "hidden_state_mse"}]
    task = "single_label_classification"

    def trainer() -> DistillationTrainer:
        return trainer_of(tmp_path, losses, task, task_student(task, intermediate_size=24), **options)

    first = trainer()
    before = copy_of(dict(first.distillation_objective.projections.named_parameters()))
    connectors = [tuple(weight.shape) for name, weight in before.items() if "activation_boundary" in name]
    assert sorted(connectors) == [(32,), (32,), (32, 24), (32, 24)]
    first.train()
    after = copy_of(dict(first.distillation_objective.projections.named_parameters()))
    assert all((after[name] != weight).any() for name, weight in before.items()), "each is trained"
    resumed = trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert_same(dict(resumed.distillation_objective.projections.named_parameters()), after)
    assert_same(resumed.model.state_dict(), first.model.state_dict())


# ---- The learned layer mapping ----


@pytest.mark.parametrize("loss", ["hidden_state_cosine", "pkd", "neuron_selectivity", "attention_mse"])
def test_a_learned_mapping_is_for_hidden_state_mse_alone(tmp_path: Path, loss: str) -> None:
    with pytest.raises(DistillationError, match="learned"):
        trainer_of(tmp_path, [{"name": loss, "layer_mapping": "learned"}])


def naive_learned(own: list[Tensor], other: list[Tensor], lengths: list[int], detached: bool) -> Tensor:
    """Mean over layers and tokens of the MSE to the layers that each of the student's layers attends over."""
    total, width = torch.zeros((), dtype=torch.float64), own[0].shape[-1]
    for layer in own[1:]:
        for text, length in enumerate(lengths):
            query = layer[text, :length].mean(dim=0)
            energies = torch.stack([query @ state[text, :length].mean(dim=0) for state in other[1:]]) / math.sqrt(width)
            weights = energies.softmax(dim=0)
            weights = weights.detach() if detached else weights
            target = sum(weight * state[text] for weight, state in zip(weights, other[1:], strict=True))
            for token in range(length):
                total = total + ((layer[text, token] - target[token]) ** 2).mean()
    return total / sum(lengths) / (len(own) - 1)


def test_a_learned_mapping_is_the_naive_one_with_its_gradient_through_the_weights() -> None:
    lengths, generator = [5, 3], torch.Generator().manual_seed(0)
    own, other = (
        [torch.randn(2, 5, 6, dtype=torch.float64, generator=generator) for _ in range(count)] for count in (3, 5)
    )
    mask = torch.arange(5) < torch.tensor(lengths).unsqueeze(1)
    profiles = [SignalProfile(None, 3, num_hidden_states=count, hidden_size=6) for count in (3, 5)]
    objective = Objective(
        SINGLE_LABEL_CLASSIFICATION,
        temperature=1.0,
        hard_loss_weight=0.0,
        soft_loss_weight=0.0,
        losses=parse_losses([{"name": "hidden_state_mse", "layer_mapping": "learned"}]),
        student=profiles[0],
        teacher=profiles[1],
    )
    batch = {"input_ids": mask.long(), "attention_mask": mask.long()}

    def gradients(value_of: Any) -> tuple[float, Tensor]:
        states = [state.clone().requires_grad_() for state in own]
        value = value_of(states)
        value.backward()
        return value.item(), torch.stack([state.grad for state in states[1:]])

    def by_objective(states: list[Tensor]) -> Tensor:
        logits = torch.zeros(2, 3, dtype=torch.float64)
        return objective(Signals(logits, mask, tuple(states)), Signals(logits, mask, tuple(other)), batch)[0]

    value, gradient = gradients(by_objective)
    expected, naive_gradient = gradients(lambda states: naive_learned(states, other, lengths, detached=False))
    _, without_weights = gradients(lambda states: naive_learned(states, other, lengths, detached=True))
    assert value == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(gradient, naive_gradient, rtol=0, atol=1e-12)
    assert (gradient - without_weights).abs().max() > 1e-4


# ---- Projections ----


@pytest.mark.parametrize(("kind", "maps"), [("shared", 1), ("per_layer", 2)])
@pytest.mark.parametrize("loss", ["hidden_state_mse", "hidden_state_cosine", "pkd"])
def test_a_shared_projection_is_one_map_and_is_kept(tmp_path: Path, loss: str, kind: str, maps: int) -> None:
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    losses = [{"name": loss, "projection": kind}]
    trainer = trainer_of(tmp_path, losses, **options)
    before = copy_of(dict(trainer.distillation_objective.projections.named_parameters()))
    trainer.train()
    assert sorted(tuple(weight.shape) for weight in before.values()) == [(16,)] * maps + [(16, 8)] * maps
    after = copy_of(dict(trainer.distillation_objective.projections.named_parameters()))
    assert all((after[name] != weight).any() for name, weight in before.items()), "each is trained"
    states = tuple(torch.ones(1, 1, 8) for _ in range(3))
    first, second = trainer.distillation_objective.projections(states).values()
    assert torch.equal(first, second) == (kind == "shared")
    assert_same(load_file(tmp_path / "checkpoint-4" / "projections.safetensors"), after)
    resumed = trainer_of(tmp_path, losses, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert_same(dict(resumed.distillation_objective.projections.named_parameters()), after)
    assert_same(resumed.model.state_dict(), trainer.model.state_dict())
