"""Narrower students, against teachers that were widened from narrow ones or have parts without effect."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from distilnlp.errors import DistillationError
from distilnlp.models.families import FAMILIES
from distilnlp.students import build_student, head_importance
from tests.tiny import DEPTH_ONLY, SHAPE, tiny_model
from tests.width_tools import (
    HEADS,
    NARROW,
    NARROWABLE,
    batch,
    emitted,
    has_head,
    layers_of,
    model_of,
    outputs_of,
    sample_for,
)

# ---- Shapes, configs, files ----


@pytest.mark.parametrize(
    ("family", "head"), [(family, head) for family in NARROWABLE for head in HEADS if has_head(family, head)]
)
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


@pytest.mark.parametrize("family", NARROWABLE)
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


def with_embeddings_of(size: int, family: str, head: Any) -> PreTrainedModel:
    config = copy.deepcopy(model_of(family, head).config)
    config.embedding_size = size
    torch.manual_seed(0)
    teacher = head.from_config(config).double()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return teacher.eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ["electra", "deberta-v2"])
def test_a_student_as_wide_as_the_embeddings_has_no_layer_behind_them(family: str, head: Any, tmp_path: Path) -> None:
    teacher = with_embeddings_of(16, family, head)
    tokens = teacher.get_input_embeddings().weight.clone()
    student = build_student(teacher, hidden_size=16, sample=sample_for(teacher))
    assert student.config.embedding_size == student.config.hidden_size == 16
    assert not any("embeddings_project" in name or "embed_proj" in name for name in student.state_dict())
    if head is AutoModelForMaskedLM:  # its head gives what the teacher's gives, in the embeddings' own coordinates
        decoder = next(name for name in teacher.state_dict() if name.endswith(("lm_head.weight", "decoder.weight")))
        torch.testing.assert_close(student.state_dict()[decoder], tokens, rtol=0, atol=0)
    student.save_pretrained(tmp_path)
    reloaded, info = head.from_pretrained(tmp_path, dtype=torch.float64, output_loading_info=True)
    assert not any(info.values())
    torch.testing.assert_close(emitted(reloaded.eval()), emitted(student), rtol=0, atol=1e-12)


def test_a_layer_before_the_norm_is_folded_exactly() -> None:
    teacher = with_embeddings_of(16, "deberta-v2", AutoModel)
    config = copy.deepcopy(teacher.config)
    config.embedding_size = 32
    same = AutoModel.from_config(config).double().eval()
    weights = teacher.state_dict()
    layer = weights.pop("embeddings.embed_proj.weight")
    weights = {name: value @ layer.T if value.shape[-1] == 16 else value for name, value in weights.items()}
    same.load_state_dict(weights)
    torch.testing.assert_close(emitted(same), emitted(teacher))
    students = [build_student(model, hidden_size=16, sample=[batch()]) for model in (teacher, same)]
    torch.testing.assert_close(emitted(students[0]), emitted(students[1]), rtol=0, atol=1e-8)


def test_a_layer_behind_the_norm_is_folded_exactly_where_nothing_is_lost() -> None:
    """The layer repeats every coordinate, the blocks add nothing to it, and the gain is the same for all."""
    teacher = with_embeddings_of(16, "electra", AutoModel)
    with torch.no_grad():
        teacher.embeddings.LayerNorm.weight.fill_(0.7)
        teacher.embeddings_project.weight.copy_(torch.eye(16).repeat(2, 1))
        for layer in layers_of(teacher):
            for block in (layer.attention.output, layer.output):
                block.dense.weight.zero_()
                block.dense.bias.zero_()
                block.LayerNorm.weight.fill_(1.0)
                block.LayerNorm.bias.zero_()
        teacher.embeddings_project.bias.copy_(torch.randn(16).repeat(2))
    student = build_student(teacher, hidden_size=16, sample=[batch()])
    own, other = (outputs_of(model).hidden_states[0][batch()["attention_mask"].bool()] for model in (student, teacher))
    torch.testing.assert_close(own @ own.T, other @ other.T, rtol=0, atol=1e-8)


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


def widened(family: str, head: Any, **options: Any) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A narrow model, and a wide one that says the same: every coordinate twice, dead heads and dead neurons added."""
    narrow, wide = (model_of(family, head, **{**sizes, **options}) for sizes in (NARROW, {}))
    names = FAMILIES[family]
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
        elif inside[2] in (names.ffn[0], *names.ffn_gates):
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


@pytest.mark.parametrize(
    ("family", "options"), [*((family, {}) for family in NARROWABLE), ("deberta-v2", {"share_att_key": False})]
)
def test_widened_teacher_gives_the_narrow_model_back(family: str, options: dict[str, Any]) -> None:
    head = AutoModelForQuestionAnswering if has_head(family, AutoModelForQuestionAnswering) else AutoModel
    narrow, wide = widened(family, head, **options)
    student = build_student(wide, **NARROW, sample=[batch()])
    originals, fitted = outputs_of(narrow).hidden_states, outputs_of(student).hidden_states
    is_token = batch()["attention_mask"].bool()
    for teacher_state, original, state in zip(outputs_of(wide).hidden_states, originals, fitted, strict=True):
        products = original[is_token] @ original[is_token].T  # whatever the basis is
        torch.testing.assert_close(teacher_state[is_token] @ teacher_state[is_token].T, 2 * products)
        torch.testing.assert_close(state[is_token] @ state[is_token].T, 2 * products, rtol=0, atol=1e-7)
    if family != "modernbert":  # its head has an activation, which does not commute with the projection
        torch.testing.assert_close(emitted(student)[1:], emitted(wide)[1:], rtol=0, atol=1e-7)


@pytest.mark.parametrize("family", DEPTH_ONLY)
def test_a_family_that_cannot_be_made_narrower_says_what_can_be_cut(family: str) -> None:
    teacher = tiny_model(family)
    with pytest.raises(DistillationError, match=rf"bert, .*got '{family}', of which layers and vocabulary can be cut"):
        build_student(teacher, intermediate_size=4, sample=[batch()])
    with pytest.raises(DistillationError, match="layers and vocabulary"):
        head_importance(teacher, [batch()])


@pytest.mark.parametrize(("family", "model_type"), [*((family, None) for family in NARROWABLE), ("bert", "distilbert")])
def test_neurons_without_effect_are_the_ones_cut(family: str, model_type: str | None) -> None:
    teacher = model_of(family, AutoModelForTokenClassification)
    for number, layer in enumerate(layers_of(teacher)):
        layer.get_submodule(FAMILIES[family].ffn[1]).weight.data[:, number::2] = 0
    reference = build_student(teacher, num_layers=2, model_type=model_type)
    student = build_student(teacher, num_layers=2, intermediate_size=12, sample=[batch()], model_type=model_type)
    assert getattr(student.config, "hidden_dim" if model_type else FAMILIES[family].ffn_size) == 12
    torch.testing.assert_close(emitted(student), emitted(reference), rtol=0, atol=1e-10)


def test_heads_that_share_a_position_table_are_the_same_in_all_layers() -> None:
    teacher = model_of("mpnet")
    student = build_student(teacher, num_attention_heads=2, sample=[batch()])
    importance = head_importance(teacher, [batch()])
    heads = importance.sum(dim=0).topk(2).indices.sort().values
    assert any(row.topk(2).indices.sort().values.tolist() != heads.tolist() for row in importance)
    table = teacher.mpnet.encoder.relative_attention_bias.weight
    assert torch.equal(student.mpnet.encoder.relative_attention_bias.weight, table[:, heads])
    for own, layer in zip(layers_of(teacher), layers_of(student), strict=True):
        biases = own.attention.attn.v.bias.unflatten(0, (4, 8))
        assert torch.equal(layer.attention.attn.v.bias, biases[heads].flatten())


def test_neurons_that_others_can_tell_are_taken_over() -> None:
    teacher = model_of("bert")
    for layer in layers_of(teacher):
        inner, outer = layer.intermediate.dense, layer.output.dense
        inner.weight.data[12:], inner.bias.data[12:] = inner.weight.data[:12], inner.bias.data[:12]
        outer.weight.data[:, 12:] = 0.02 * outer.weight.data[:, :12]
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


def test_convolution_is_cut_too() -> None:
    teacher = model_of("deberta-v2", conv_kernel_size=3)
    student = build_student(teacher, hidden_size=16, sample=[batch()])
    assert student.deberta.encoder.conv.conv.weight.shape == (16, 16, 3)
    assert all(value.isfinite().all() for value in emitted(student))


def test_part_that_cannot_be_cut_is_refused() -> None:
    teacher = model_of("deberta-v2", conv_kernel_size=3, conv_groups=2)
    with pytest.raises(DistillationError, match=r"encoder\.conv\.conv\.weight has an axis of 16, not 32"):
        build_student(teacher, hidden_size=16, sample=[batch()])


def test_layer_that_never_runs_is_refused() -> None:
    teacher = model_of("bert", is_decoder=True, add_cross_attention=True)
    with pytest.raises(DistillationError, match=r"must run on the sample; .*crossattention.* did not"):
        build_student(teacher, hidden_size=16, sample=[batch()])
