"""A vocabulary head on chosen positions gives what the whole head gives there, gradients and all."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.models.selected_head import head_on, logits_at
from tests.test_captures import DEBERTA
from tests.tiny import FAMILIES, SHAPE, tiny_model

VOCABULARY = SHAPE["vocab_size"]
OWN_OPTIONS: dict[str, dict[str, Any]] = {
    "deberta-v2": {**DEBERTA, "legacy": False},
    "deberta-v2 of old": {**DEBERTA, "legacy": True},
}
every_model = pytest.mark.parametrize("kind", [*FAMILIES, *OWN_OPTIONS])


def masked_model(kind: str) -> PreTrainedModel:
    family = kind.split()[0]
    config = tiny_model(family).config.to_dict() | OWN_OPTIONS.get(kind, {})
    config = AutoConfig.for_model(**{name: value for name, value in config.items() if name != "architectures"})
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def batch_and_positions() -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(9) < torch.tensor([9, 6, 4]).unsqueeze(1)
    words = torch.randint(5, VOCABULARY, mask.shape, generator=generator)
    positions = torch.zeros_like(mask)
    positions[[0, 0, 2], [1, 7, 3]] = True
    return {"input_ids": words.where(mask, 0), "attention_mask": mask.long()}, positions


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@every_model
def test_chosen_positions_get_the_logits_and_gradients_of_the_whole_head(kind: str) -> None:
    model = masked_model(kind)
    batch, positions = batch_and_positions()
    whole = model(**batch, output_hidden_states=True)
    with head_on(model, positions):
        chosen = model(**batch, output_hidden_states=True)
    assert whole.logits.shape == (3, 9, VOCABULARY)
    assert chosen.logits.shape == (3, VOCABULARY)
    expected = torch.stack([whole.logits[0, 1], whole.logits[0, 7], whole.logits[2, 3]])
    torch.testing.assert_close(chosen.logits, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(chosen.hidden_states, whole.hidden_states)
    found = gradients(model, chosen.logits.square().sum())
    torch.testing.assert_close(found, gradients(model, expected.square().sum()), rtol=1e-6, atol=1e-9)
    assert found


@every_model
def test_the_vocabulary_is_computed_for_chosen_positions_only(kind: str) -> None:
    model = masked_model(kind)
    batch, positions = batch_and_positions()
    seen: list[tuple[int, ...]] = []
    head = [module for child in model.children() if child is not model.base_model for module in child.modules()]
    hooks = [module.register_forward_hook(lambda _m, _i, output: seen.append(output.shape)) for module in head]
    with head_on(model, positions):
        model(**batch)
    for hook in hooks:
        hook.remove()
    assert seen
    assert {shape[:-1] for shape in seen} == {(3,)}


@every_model
def test_no_positions_give_no_logits_with_their_graph(kind: str) -> None:
    model = masked_model(kind)
    batch, positions = batch_and_positions()
    with head_on(model, torch.zeros_like(positions)):
        logits = model(**batch).logits
    assert logits.shape == (0, VOCABULARY)
    found = gradients(model, logits.sum())
    assert found
    assert not any(grad.any() for grad in found.values())


@every_model
def test_the_head_is_whole_again_afterwards(kind: str) -> None:
    model = masked_model(kind)
    batch, positions = batch_and_positions()
    with pytest.raises(RuntimeError, match="stop"), head_on(model, positions):
        raise RuntimeError("stop")
    assert model(**batch).logits.shape == (3, 9, VOCABULARY)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_logits_are_selected_once_whether_the_head_ran_on_all_positions_or_on_some() -> None:
    _, positions = batch_and_positions()
    whole = torch.arange(27.0).view(3, 9, 1)
    expected = torch.tensor([[1.0], [7.0], [21.0]])
    assert torch.equal(logits_at(whole, positions), expected)
    assert torch.equal(logits_at(expected, positions), expected)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_model_without_a_vocabulary_head_is_refused(family: str) -> None:
    _, positions = batch_and_positions()
    with (
        pytest.raises(DistillationError, match="ForSequenceClassification has no such head"),
        head_on(tiny_model(family), positions),
    ):
        pass
