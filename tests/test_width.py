"""Narrower students: against teachers that were widened from narrow ones, and fits against naive mathematics."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from distilnlp.errors import DistillationError
from distilnlp.families import FAMILIES
from distilnlp.signals import named_inputs, select_inputs
from distilnlp.students import build_student, head_importance, neuron_importance
from distilnlp.students.fitting import LinearFit, NormFit
from distilnlp.students.width import fit_projection
from tests.tiny import SHAPE, tiny_model

OPTIONS = {
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    }
}
SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 24, "num_hidden_layers": 2}
NARROW = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 12}
HEADS = (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoModelForQuestionAnswering,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
)


def model_of(family: str, head: Any = AutoModelForSequenceClassification, **shape: Any) -> PreTrainedModel:
    """A float64 model with biases and gains that look trained."""
    config = tiny_model(family, **{**OPTIONS.get(family, {}), **SIZES, **shape}).config
    if head is AutoModelForQuestionAnswering:
        config.num_labels = 2
    torch.manual_seed(0)
    model = head.from_config(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


@cache
def batch(padding: int = 0, rows: int = 24) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    length = 12 + padding
    ids = torch.randint(5, SHAPE["vocab_size"], (rows, 12), generator=generator)
    real = torch.arange(length) < torch.randint(3, 13, (rows, 1), generator=generator)
    return {"input_ids": F.pad(ids, (0, padding)) * real, "attention_mask": real.long()}


def choices() -> dict[str, Tensor]:
    return {name: value.unflatten(0, (-1, 2)) for name, value in batch().items()}


def sample_for(model: PreTrainedModel) -> list[dict[str, Tensor]]:
    return [choices() if "MultipleChoice" in type(model).__name__ else batch()]


def outputs_of(model: PreTrainedModel, inputs: dict[str, Tensor] | None = None) -> Any:
    inputs = sample_for(model)[0] if inputs is None else inputs
    with torch.no_grad():
        return model(**select_inputs(inputs, named_inputs(model)), output_hidden_states=True, return_dict=True)


def emitted(model: PreTrainedModel) -> list[Tensor]:
    """The last hidden states at real tokens, then what the head gives."""
    outputs = outputs_of(model)
    names = [name for name in ("logits", "start_logits", "end_logits") if name in outputs]
    return [outputs.hidden_states[-1][batch()["attention_mask"].bool()], *(outputs[name] for name in names)]


def layers_of(model: PreTrainedModel) -> list[nn.Module]:
    return list(model.base_model.get_submodule(FAMILIES[model.config.model_type].layers))


# ---- Shapes, configs, files ----


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_student_states_its_width_and_reloads_equal(family: str, head: Any, tmp_path: Path) -> None:
    teacher = model_of(family, head)
    before = copy.deepcopy(teacher.state_dict())
    student = build_student(teacher, num_layers=1, **NARROW, sample=sample_for(teacher))
    config, names = student.config, FAMILIES[family]
    assert type(student) is type(teacher)
    assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers) == (16, 2, 1)
    assert getattr(config, names.ffn_size) == 12
    assert layers_of(student)[0].get_submodule(names.ffn[1]).weight.shape == (16, 12)
    assert student.get_input_embeddings().weight.shape == (SHAPE["vocab_size"], 16)
    assert all(value.isfinite().all() for value in emitted(student))
    student.save_pretrained(tmp_path)
    reloaded, info = head.from_pretrained(tmp_path, dtype=torch.float64, output_loading_info=True)
    assert not any(info.values())
    torch.testing.assert_close(emitted(reloaded.eval()), emitted(student), rtol=0, atol=0)
    torch.testing.assert_close(dict(teacher.state_dict()), dict(before), rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_width_is_the_teacher_and_needs_no_sample(family: str) -> None:
    teacher = model_of(family)
    student = build_student(teacher, hidden_size=32, num_attention_heads=4, intermediate_size=24)
    torch.testing.assert_close(dict(student.state_dict()), dict(teacher.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(("ask", "expected"), [({"hidden_size": 24}, (24, 3)), ({"num_attention_heads": 1}, (8, 1))])
def test_hidden_size_and_heads_follow_from_each_other(ask: dict[str, int], expected: tuple[int, int]) -> None:
    config = build_student(model_of("bert"), **ask, sample=[batch()]).config
    assert (config.hidden_size, config.num_attention_heads) == expected
    assert (config.intermediate_size, config.num_hidden_layers) == (24, 2)


def test_embeddings_of_another_size_stay() -> None:
    teacher = model_of("electra")
    config = copy.deepcopy(teacher.config)
    config.embedding_size = 8
    teacher = AutoModelForSequenceClassification.from_config(config).double().eval()
    student = build_student(teacher, hidden_size=16, sample=[batch()])
    assert student.config.embedding_size == 8
    assert torch.equal(student.get_input_embeddings().weight, teacher.get_input_embeddings().weight)
    assert student.electra.embeddings_project.weight.shape == (16, 8)


def test_tied_decoder_stays_tied() -> None:
    student = build_student(model_of("bert", AutoModelForMaskedLM), hidden_size=16, sample=[batch()])
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight


def test_half_precision_is_kept() -> None:
    teacher = model_of("bert").to(torch.bfloat16)
    student = build_student(teacher, **NARROW, sample=[batch()])
    assert {weight.dtype for weight in student.state_dict().values()} == {torch.bfloat16}
    assert all(value.isfinite().all() for value in emitted(student))


# ---- What is cut is what does not matter ----


def kept_heads(family: str, layer: int) -> list[int]:
    return [0, 3] if FAMILIES[family].head_tables or layer else [1, 2]


def doubled(weight: Tensor, wide: Tensor, axes: dict[int, float]) -> Tensor:
    """Repeat hidden-state axes; what reads both copies takes half of each."""
    for axis, factor in axes.items():
        if weight.shape[axis] != wide.shape[axis]:
            weight = torch.cat([weight, weight], dim=axis) * factor
    return weight


def widened(family: str, head: Any) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A narrow model, and a wide one that says the same: every coordinate twice, dead heads and dead neurons added."""
    narrow, wide, names = model_of(family, head, **NARROW), model_of(family, head), FAMILIES[family]
    linear = {name for name, module in wide.named_modules() if isinstance(module, nn.Linear)}
    weights, placed = wide.state_dict(), narrow.state_dict()
    prefix = "" if head is AutoModel else f"{wide.base_model_prefix}."
    for name, weight in placed.items():
        module = name.rpartition(".")[0]
        inside = module.removeprefix(f"{prefix}{names.layers}.").partition(".")
        layer = int(inside[0]) if inside[0].isdecimal() else 0
        columns = torch.cat([torch.arange(8) + 8 * index for index in kept_heads(family, layer)])
        reads = {1: 0.5} if module in linear and weight.dim() == 2 else {1: 1.0} if weight.dim() == 2 else {}
        new = weights[name].clone()
        if inside[2] in (*names.qkv, *names.position_projections):
            blocks = new.shape[0] // 32
            rows = torch.cat([columns + 32 * block for block in range(blocks)])
            new[rows] = doubled(weight, new[rows], reads)
        elif inside[2] == names.attention_output and weight.dim() == 2:
            new[:] = 0
            new[:, columns] = doubled(weight, new[:, columns], {0: 1.0})
        elif inside[2] == names.ffn[0]:
            rows = torch.cat([torch.arange(12) * 2 + 24 * block for block in range(new.shape[0] // 24)])
            new[rows] = doubled(weight, new[rows], reads)
        elif inside[2] == names.ffn[1] and weight.dim() == 2:
            new[:] = 0
            new[:, ::2] = doubled(weight, new[:, ::2], {0: 1.0})
        elif module.removeprefix(prefix) in names.head_tables:
            new[:, kept_heads(family, 0)] = weight
        else:
            new = doubled(weight, new, {0: 1.0, **reads})
        weights[name] = new
    wide.load_state_dict(weights)
    return narrow, wide


@pytest.mark.parametrize("family", FAMILIES)
def test_widened_teacher_gives_the_narrow_model_back(family: str) -> None:
    narrow, wide = widened(family, AutoModelForQuestionAnswering)
    student = build_student(wide, **NARROW, sample=[batch()])
    originals, fitted = outputs_of(narrow).hidden_states, outputs_of(student).hidden_states
    is_token = batch()["attention_mask"].bool()
    for teacher_state, original, state in zip(outputs_of(wide).hidden_states, originals, fitted, strict=True):
        products = original[is_token] @ original[is_token].T  # whatever the basis is
        torch.testing.assert_close(teacher_state[is_token] @ teacher_state[is_token].T, 2 * products)
        torch.testing.assert_close(state[is_token] @ state[is_token].T, 2 * products, rtol=0, atol=1e-7)
    if family != "modernbert":  # its head has an activation, which does not commute with the projection
        torch.testing.assert_close(emitted(student)[1:], emitted(wide)[1:], rtol=0, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("model_type", [None, "distilbert"])
def test_neurons_without_effect_are_the_ones_cut(family: str, model_type: str | None) -> None:
    if model_type is not None and family != "bert":
        pytest.skip("only a BERT becomes a DistilBERT")
    teacher = model_of(family, AutoModelForTokenClassification)
    teacher.config.layer_norm_eps = 1e-12
    for number, layer in enumerate(layers_of(teacher)):
        layer.get_submodule(FAMILIES[family].ffn[1]).weight.data[:, number::2] = 0
    reference = build_student(teacher, num_layers=2, model_type=model_type)
    student = build_student(teacher, num_layers=2, intermediate_size=12, sample=[batch()], model_type=model_type)
    assert getattr(student.config, "hidden_dim" if model_type else FAMILIES[family].ffn_size) == 12
    torch.testing.assert_close(emitted(student), emitted(reference), rtol=0, atol=1e-10)


def test_neurons_that_others_can_tell_are_taken_over() -> None:
    teacher = model_of("bert")
    for layer in layers_of(teacher):
        inner, outer = layer.intermediate.dense, layer.output.dense
        inner.weight.data[12:], inner.bias.data[12:] = inner.weight.data[:12], inner.bias.data[:12]
        outer.weight.data[:, 12:] = 0.3 * outer.weight.data[:, :12]
    student = build_student(teacher, intermediate_size=12, sample=[batch()] * 20)
    plain = copy.deepcopy(student)
    for own, layer in zip(layers_of(teacher), layers_of(plain), strict=True):
        layer.output.dense.weight.data[:] = own.output.dense.weight.data[:, :12]
    error, plain_error = ((emitted(model)[0] - emitted(teacher)[0]).norm() for model in (student, plain))
    assert error < 0.05 * plain_error


def test_more_padding_changes_nothing() -> None:
    teacher = model_of("bert")
    students = [build_student(teacher, **NARROW, sample=[batch(padding)]) for padding in (0, 5)]
    torch.testing.assert_close(emitted(students[1]), emitted(students[0]), rtol=0, atol=1e-8)


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


def of_states(outputs: Any) -> Tensor:
    return outputs.hidden_states[-1][batch()["attention_mask"].bool()].pow(2).sum() / 2


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2"])
@pytest.mark.parametrize(
    ("head", "labelled", "objective"),
    [
        (AutoModelForSequenceClassification, True, of_labels),
        (AutoModelForSequenceClassification, False, of_predictions),
        (AutoModel, False, of_states),
        (AutoModelForMaskedLM, False, of_states),
    ],
)
def test_importance_is_the_effect_of_a_gate(family: str, head: Any, labelled: bool, objective: Any) -> None:
    model, names = model_of(family, head), FAMILIES[family]
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
    fit = NormFit(norm, {0: torch.tensor(kept)})
    fit.see(entering, norm(entering).detach())
    fitted, leaving = fit.weights(), norm(entering).detach()
    few = entering[:, kept]
    normal = (few - few.mean(1, keepdim=True)) / (few.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    for column, coordinate in enumerate(kept):
        inputs = torch.stack([normal[:, column], torch.ones(50)] if bias else [normal[:, column]], dim=1)
        solution = torch.linalg.lstsq(inputs, leaving[:, coordinate, None]).solution.squeeze(1)
        own = [fitted["weight"][column], *([fitted["bias"][column]] if bias else [])]
        torch.testing.assert_close(torch.stack(own), solution)


# ---- What is refused ----


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"hidden_size": 20}, r"multiple of 8.*at most the teacher's 32; got 20.*one of 8, 16, 24, 32"),
        ({"hidden_size": 40}, r"at most the teacher's 32; got 40"),
        ({"hidden_size": 0}, r"multiple of 8.*got 0"),
        ({"num_attention_heads": 5}, r"num_attention_heads must be between 1 and the teacher's 4; got 5"),
        ({"num_attention_heads": 0}, r"between 1 and the teacher's 4; got 0"),
        ({"intermediate_size": 25}, r"intermediate_size must be between 1 and the teacher's 24; got 25"),
        (
            {"hidden_size": 16, "num_attention_heads": 3},
            r"num_attention_heads · 8.*hidden_size=16 and num_attention_heads=3. Give hidden_size=24 or "
            r"num_attention_heads=2",
        ),
    ],
)
def test_impossible_width_is_refused_with_what_would_work(ask: dict[str, int], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        build_student(model_of("bert"), **ask, sample=[batch()])


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (None, r"needs a sample of text.*got none.*sample=\[tokenizer\(texts"),
        ([], r"at least one batch; got none.*tokenizer\(texts"),
        (["a text"], r"a list of tokenised batches.*a batch of type str.*tokenizer\(texts"),
        ([{"input_ids": [[1, 2]]}], r"a tensor under 'input_ids'"),
    ],
)
def test_missing_or_wrong_sample_is_refused(sample: Any, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        build_student(model_of("bert"), intermediate_size=12, sample=sample)


def test_part_that_cannot_be_cut_is_refused() -> None:
    teacher = model_of("deberta-v2", conv_kernel_size=3, conv_groups=2)
    with pytest.raises(DistillationError, match=r"encoder\.conv\.conv\.weight has an axis of 16, not 32"):
        build_student(teacher, hidden_size=16, sample=[batch()])


def test_layer_that_never_runs_is_refused() -> None:
    teacher = model_of("bert", is_decoder=True, add_cross_attention=True)
    with pytest.raises(DistillationError, match=r"must run on the sample; .*crossattention.* did not"):
        build_student(teacher, hidden_size=16, sample=[batch()])
