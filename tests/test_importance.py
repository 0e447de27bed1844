"""Importance and fits of a narrower student, against naive mathematics."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, PreTrainedModel

from distilnlp.models.families import FAMILIES
from distilnlp.signals import named_inputs, select_inputs
from distilnlp.students import head_importance, neuron_importance
from distilnlp.students.fitting import LinearFit, NormFit
from distilnlp.students.width import fit_projection
from tests.width_tools import HEADS, batch, layers_of, model_of, sample_for

# ---- Importance ----


def naive_importance(model: PreTrainedModel, path: str, units: int, objective: Callable[[Any], Tensor]) -> Tensor:
    """|∂ objective / ∂ gate| where a gate of 1 multiplies each unit at each token, averaged over the real tokens."""
    is_token, rows = batch()["attention_mask"].bool(), []
    for layer in layers_of(model):
        gates = torch.ones(*is_token.shape, units, dtype=torch.float64, requires_grad=True)

        def gate(_module: Any, args: Any, gates: Tensor = gates) -> Any:
            return (args[0] * gates.repeat_interleave(args[0].shape[-1] // units, dim=-1),)

        hook = layer.get_submodule(path).register_forward_pre_hook(gate)
        outputs = model(**select_inputs(batch(), named_inputs(model)), output_hidden_states=True)
        objective(outputs).backward()
        hook.remove()
        rows.append(torch.stack([g.abs() for g in gates.grad[is_token]]).mean(dim=0))
    model.zero_grad()
    return torch.stack(rows)


def of_labels(outputs: Any) -> Tensor:
    return sum(-scores.log_softmax(-1)[row % 3] for row, scores in enumerate(outputs.logits))


def of_predictions(outputs: Any) -> Tensor:
    return sum(-scores.log_softmax(-1).max() for scores in outputs.logits)


def of_decisions(outputs: Any) -> Tensor:
    return sum(-F.logsigmoid(score.abs()) for score in outputs.logits.flatten())


def of_states(outputs: Any) -> Tensor:
    return outputs.hidden_states[-1][batch()["attention_mask"].bool()].pow(2).sum() / 2


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2"])
@pytest.mark.parametrize(
    ("head", "problem_type", "labelled", "objective"),
    [
        (AutoModelForSequenceClassification, None, True, of_labels),
        (AutoModelForSequenceClassification, None, False, of_predictions),
        (AutoModelForSequenceClassification, "multi_label_classification", False, of_decisions),
        (AutoModelForSequenceClassification, "regression", False, of_states),
        (AutoModel, None, False, of_states),
        (AutoModelForMaskedLM, None, False, of_states),
    ],
)
def test_importance_is_the_effect_of_a_gate(
    family: str, head: Any, problem_type: str | None, labelled: bool, objective: Any
) -> None:
    labels = {"labels": ("score",)} if problem_type == "regression" else {}
    model, names = model_of(family, head, **labels), FAMILIES[family]
    model.config.problem_type = problem_type
    given_batch = {**batch(), "labels": torch.arange(24) % 3} if labelled else batch()
    expected = naive_importance(model, names.attention_output, 4, objective)
    torch.testing.assert_close(head_importance(model, [given_batch]), expected)
    torch.testing.assert_close(
        neuron_importance(model, [given_batch]), naive_importance(model, names.ffn[1], 24, objective)
    )


@pytest.mark.parametrize("head", HEADS)
def test_importance_leaves_the_model_as_it_is(head: Any) -> None:
    model = model_of("bert", head).requires_grad_(False)
    model.base_model.encoder.train()
    modes, config = [module.training for module in model.modules()], model.config.to_dict()
    with torch.no_grad():
        importance = head_importance(model, sample_for(model))
    assert importance.shape == (2, 4)
    assert (importance > 0).all()
    assert [module.training for module in model.modules()] == modes
    assert model.config.to_dict() == config
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_importance_does_not_depend_on_how_texts_are_batched() -> None:
    model = model_of("bert")
    halves = [{name: value[rows] for name, value in batch().items()} for rows in (slice(0, 5), slice(5, 24))]
    torch.testing.assert_close(head_importance(model, halves), head_importance(model, [batch(padding=3)]))


# ---- The fits, against naive mathematics ----


@given(st.integers(0, 10_000))
def test_projection_keeps_most_and_is_nearest_to_coordinates(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(40, 6, generator=generator).double() @ torch.randn(6, 6, generator=generator).double()
    projection = fit_projection(states.T @ states, 3)
    torch.testing.assert_close(projection.T @ projection, torch.eye(3).double())
    best = torch.linalg.svdvals(states)[:3].square().sum()
    torch.testing.assert_close((states @ projection).square().sum(), best)
    chosen: list[int] = []
    for _ in range(3):  # the coordinate with the largest residual of a regression on those chosen
        solution = torch.linalg.lstsq(states[:, chosen], states).solution if chosen else torch.zeros(0, 6).double()
        residual = (states - states[:, chosen] @ solution).square().sum(dim=0)
        residual[chosen] = -1
        chosen.append(int(residual.argmax()))
    distance = (projection[sorted(chosen)] - torch.eye(3)).square().sum()
    for _ in range(20):
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator).double()).Q
        assert (projection[sorted(chosen)] @ turn - torch.eye(3)).square().sum() >= distance - 1e-9


@given(st.integers(0, 10_000), st.booleans())
def test_linear_fit_minimises_the_weighted_error_and_the_ridge(seed: int, projected: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(6, 4).double()
    entering = torch.randn(30, 6, generator=generator).double() @ torch.randn(6, 6, generator=generator).double()
    entering[0] *= 100
    put_back = torch.eye(6).double()[:, [0, 2, 5]]
    if projected:
        put_back = torch.linalg.qr(torch.randn(6, 3, generator=generator).double()).Q
    fit = LinearFit(layer, {1: put_back if projected else torch.tensor([0, 2, 5])})
    for rows in (entering[:10], entering[10:]):
        fit.see(rows, layer(rows).detach())
    fitted = fit.weights()["weight"].requires_grad_()
    targets = entering @ layer.weight.detach().T
    energies = targets.square().sum(dim=1)
    medians = torch.cat([part.median().expand(len(part)) for part in (energies[:10], energies[10:])])
    weights = 1 / (energies + medians)
    cut = entering @ put_back
    ridge = (weights * cut.square().sum(dim=1)).mean()
    plain = layer.weight.detach() @ put_back
    loss = (weights * (targets - cut @ fitted.T).square().sum(dim=1)).sum() + ridge * (fitted - plain).square().sum()
    torch.testing.assert_close(torch.autograd.grad(loss, fitted)[0], torch.zeros(4, 3).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("bias", [True, False])
def test_norm_fit_is_a_regression_of_each_coordinate(bias: bool) -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(6, bias=bias).double()
    norm.weight.data.normal_()
    entering, kept = torch.randn(50, 6).double() * torch.arange(1, 7), [1, 3, 4]

    def shortened(values: torch.Tensor) -> torch.Tensor:
        return values[..., kept]

    fit = NormFit(norm, shortened, shortened)
    fit.see(entering, norm(entering).detach())
    fitted, leaving = fit.weights(), norm(entering).detach()
    few = entering[:, kept]
    normal = (few - few.mean(1, keepdim=True)) / (few.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    for column, coordinate in enumerate(kept):
        inputs = torch.stack([normal[:, column], torch.ones(50)] if bias else [normal[:, column]], dim=1)
        solution = torch.linalg.lstsq(inputs, leaving[:, coordinate, None]).solution.squeeze(1)
        own = [fitted["weight"][column], *([fitted["bias"][column]] if bias else [])]
        torch.testing.assert_close(torch.stack(own), solution)
