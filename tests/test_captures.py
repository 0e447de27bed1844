"""Captures equal what the models compute, in every family, and leave the models as they were."""

import copy
import gc
import logging
import math
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.models.captures import Captures, capturing, check_capturable, eager_attention, layers_of
from tests.tiny import DEPTH_ONLY, FAMILIES, LIKE_BERT, NORM_FIRST, SHAPE, tiny_model

HEADS, HEAD_DIM, LAYERS = 2, 8, 4
ALL_LAYERS = range(1, LAYERS + 1)
LENGTHS = (11, 7, 3)
DEBERTA = {
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
ALL_FAMILIES = (*FAMILIES, "deberta-v2")
PLAIN_SCORES = ("bert", *LIKE_BERT, *NORM_FIRST, "electra", "distilbert")
# What normalises the states before the attention of a layer, where it is not the layer before it.
FIRST_NORMS = {
    "megatron-bert": "encoder.layer.{}.attention.ln",
    "xlm-roberta-xl": "encoder.layer.{}.attention.self_attn_layer_norm",
    "roberta-prelayernorm": "encoder.layer.{}.attention.LayerNorm",
    "modernbert": "layers.{}.attn_norm",
}
ALWAYS_EAGER = ("mpnet", "deberta-v2", "megatron-bert", "roformer")
BERT_LINEARS = ("encoder.layer.{}.attention.self", "query key value")
LINEARS = {
    "distilbert": ("transformer.layer.{}.attention", "q_lin k_lin v_lin"),
    "mpnet": ("encoder.layer.{}.attention.attn", "q k v"),
    "deberta-v2": ("encoder.layer.{}.attention.self", "query_proj key_proj value_proj"),
    "modernbert": ("layers.{}.attn", "Wqkv"),
    **dict.fromkeys(("nomic_bert", "gte"), ("layers.{}.self_attn", "q_proj k_proj v_proj")),
}
every_family = pytest.mark.parametrize("family", ALL_FAMILIES)


def build(family: str, **options: Any) -> PreTrainedModel:
    own = DEBERTA if family == "deberta-v2" else {}
    model = tiny_model(family, **own, **options)
    # ModernBERT's eager softmax is in float32, where float64's mask value is -inf: rows without a key would be NaN.
    return model if family == "modernbert" else model.double()


def with_dropout(family: str, on_maps: float, elsewhere: float = 0.0) -> PreTrainedModel:
    """A model in train mode; ModernBERT has one probability for the maps and for the attention's output."""
    if family in ("distilbert", "modernbert"):
        return build(family, dropout=elsewhere, attention_dropout=on_maps).train()
    return build(family, hidden_dropout_prob=elsewhere, attention_probs_dropout_prob=on_maps).train()


def padded_batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    words = torch.randint(5, SHAPE["vocab_size"], mask.shape, generator=generator)
    return {"input_ids": words.where(mask, 0), "attention_mask": mask.long()}


def capture(model: nn.Module, **wanted: Any) -> Captures:
    with capturing(model, **wanted) as captures:
        model(**padded_batch())
    return captures


def hooks_of(model: nn.Module) -> list[tuple[int, int]]:
    return [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]


def linears_of(model: PreTrainedModel, family: str, layer: int) -> list[Any]:
    """The linear layers of the queries, keys and values, written down here once more."""
    path, names = LINEARS.get(family, BERT_LINEARS)
    attention = model.base_model.get_submodule(path.format(layer))
    return [getattr(attention, name) for name in names.split()]


def naive_qkv(model: PreTrainedModel, family: str, layer: int, states: tuple[Tensor, ...]) -> list[Tensor]:
    """Recompute a layer's queries, keys and values, head by head, from the hidden state that enters it."""
    state = states[layer]
    if family in FIRST_NORMS and (family != "modernbert" or layer > 0):
        state = model.base_model.get_submodule(FIRST_NORMS[family].format(layer))(state)
    flat = torch.cat([linear(state) for linear in linears_of(model, family, layer)], dim=-1)
    heads = flat.split(HEAD_DIM, dim=-1)  # of the queries, then of the keys, then of the values
    return [torch.stack(heads[start : start + HEADS], dim=1) for start in range(0, 3 * HEADS, HEADS)]


# ---- What is captured ----


@every_family
def test_pre_activations_are_what_the_activation_function_reads(family: str) -> None:
    model, read = build(family).eval(), []
    for layer in layers_of(model):
        for module in layer.modules():
            if type(module).__module__ == "transformers.activations" or isinstance(module, nn.GELU | nn.SiLU):
                module.register_forward_pre_hook(lambda _module, args: read.append(args[0]))
    captured = capture(model, pre_activations=ALL_LAYERS).pre_activations
    assert list(captured) == list(ALL_LAYERS)
    assert len(read) == LAYERS
    for index, given in zip(ALL_LAYERS, read, strict=True):
        assert torch.equal(captured[index], given)
        assert captured[index].shape == (len(LENGTHS), max(LENGTHS), SHAPE["intermediate_size"])


def test_pre_activations_of_a_network_in_chunks_are_refused() -> None:
    with pytest.raises(DistillationError, match=r"chunk_size_feed_forward: 4\. Set it to 0"):
        capture(tiny_model("bert", chunk_size_feed_forward=4), pre_activations=[1])


@every_family
@torch.no_grad()
def test_queries_keys_and_values_are_the_layers_own(family: str) -> None:
    model = build(family)
    with capturing(model, qkv=ALL_LAYERS) as captures:
        states = model(**padded_batch(), output_hidden_states=True).hidden_states
    assert list(captures.qkv) == list(ALL_LAYERS)
    for index, captured in captures.qkv.items():
        for part, expected in zip(captured, naive_qkv(model, family, index - 1, states), strict=True):
            assert part.shape == (len(LENGTHS), HEADS, max(LENGTHS), HEAD_DIM)
            torch.testing.assert_close(part, expected)


@every_family
@torch.no_grad()
def test_attention_maps_are_those_of_an_eager_model(family: str) -> None:
    model, reference = build(family), build(family)
    reference.set_attn_implementation("eager")
    expected = reference(**padded_batch(), output_attentions=True).attentions
    with eager_attention(model), capturing(model, attentions=ALL_LAYERS) as captures:
        model(**padded_batch())
        silent = dict(captures.attentions)
        asked = model(**padded_batch(), output_attentions=True).attentions
    for maps in (asked, silent.values(), captures.attentions.values()):
        assert all(torch.equal(one, other) for one, other in zip(maps, expected, strict=True))


@pytest.mark.parametrize("family", PLAIN_SCORES)
@torch.no_grad()
def test_plain_scores_give_the_map(family: str) -> None:
    model = build(family)
    check_capturable(model.config.model_type, needs_plain_scores=True)
    with eager_attention(model):
        captures = capture(model, attentions=ALL_LAYERS, qkv=ALL_LAYERS)
    for index, (queries, keys, _) in captures.qkv.items():
        for row, length in enumerate(LENGTHS):
            scores = queries[row] @ keys[row, :, :length].transpose(1, 2) / math.sqrt(HEAD_DIM)
            real, padding = captures.attentions[index][row].split([length, max(LENGTHS) - length], dim=-1)
            torch.testing.assert_close(real, scores.softmax(dim=-1))
            assert not padding.any()


@every_family
@torch.no_grad()
def test_capturing_changes_no_output(family: str) -> None:
    model, eager = build(family), build(family)
    eager.set_attn_implementation("eager")
    expected, expected_eager = model(**padded_batch()).logits, eager(**padded_batch()).logits
    with capturing(model, qkv=ALL_LAYERS, pre_activations=ALL_LAYERS):
        assert torch.equal(model(**padded_batch()).logits, expected)
    with eager_attention(model), capturing(model, attentions=ALL_LAYERS, qkv=[2]):
        outputs = model(**padded_batch())
        assert torch.equal(outputs.logits, expected_eager)
        assert outputs.get("attentions") is None
    assert torch.equal(model(**padded_batch()).logits, expected)


@torch.no_grad()
def test_the_last_pass_wins() -> None:
    model, batch = build("deberta-v2"), padded_batch()
    with capturing(model, qkv=[1]) as captures:
        model(**{name: value[:1] for name, value in batch.items()})
        assert len(captures.qkv[1].queries) == 1
        model(**batch)
    assert len(captures.qkv[1].queries) == len(LENGTHS)


# ---- Gradients ----


def loss_of(captures: Captures) -> Tensor:
    parts = [part for layer in captures.qkv.values() for part in layer]
    parts += [*captures.attentions.values(), *captures.pre_activations.values()]
    return torch.stack([value.square().sum() for value in parts]).sum()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@every_family
def test_gradients_reach_the_query_weights(family: str) -> None:
    model = build(family)
    query = linears_of(model, family, 1)[0].weight
    with eager_attention(model):
        captures = capture(model, attentions=[2], qkv=[2])
    for captured in (captures.qkv[2].queries, captures.attentions[2]):
        (grad,) = torch.autograd.grad(captured.square().sum(), query, retain_graph=True)
        assert grad[: HEADS * HEAD_DIM].abs().min() > 0


@pytest.mark.parametrize("is_backward_inside", [True, False])
@pytest.mark.parametrize("family", [family for family in ALL_FAMILIES if family != "mpnet"])  # it has no checkpointing
def test_checkpointed_layers_give_the_same_captures_and_gradients(family: str, is_backward_inside: bool) -> None:
    results = []
    for is_checkpointed in (False, True):
        model = with_dropout(family, on_maps=0.0)
        if is_checkpointed:
            model.activation_checkpointing_enable()
        with eager_attention(model):
            with capturing(model, ALL_LAYERS, ALL_LAYERS, ALL_LAYERS) as captures:
                loss = model(**padded_batch()).logits.square().sum() + loss_of(captures)
                if is_backward_inside:
                    loss.backward()
            if not is_backward_inside:
                loss.backward()
        results.append((loss.detach(), loss_of(captures).detach(), gradients(model)))
    assert results[0][2]
    torch.testing.assert_close(results[1], results[0])


def test_reentrant_checkpointing_is_refused() -> None:
    model = build("bert").train()
    model.activation_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(DistillationError, match="re-entrant"):
        capture(model, qkv=[2])
    with torch.no_grad():  # a forward pass that wants no gradient loses none
        assert capture(model, qkv=[2]).qkv


def test_autocast_gives_captures_with_gradient() -> None:
    model = build("bert").float()
    with eager_attention(model), torch.autocast("cpu", dtype=torch.bfloat16):
        captures = capture(model, attentions=[1], qkv=[1])
    assert captures.qkv[1].queries.dtype == torch.bfloat16
    loss_of(captures).backward()
    assert model.bert.encoder.layer[0].attention.self.query.weight.grad.abs().max() > 0


@pytest.fixture
def one_process_group() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process_group")
def test_a_model_inside_ddp_is_captured() -> None:
    model = build("bert")
    wrapped = DistributedDataParallel(copy.deepcopy(model))
    for student in (model, wrapped):
        with eager_attention(student), capturing(student, ALL_LAYERS, [1, 3]) as captures:
            logits = student(**padded_batch()).logits
        (loss_of(captures) + logits.square().sum()).backward()
    torch.testing.assert_close(gradients(wrapped.module), gradients(model))
    assert hooks_of(wrapped.module) == hooks_of(model)


# ---- Dropout ----


@every_family
def test_maps_of_a_training_model_have_no_dropout(family: str) -> None:
    model = with_dropout(family, on_maps=0.5)
    plain = copy.deepcopy(model).eval()
    with eager_attention(plain):
        expected = capture(plain, attentions=ALL_LAYERS).attentions
    with eager_attention(model):
        maps = capture(model, attentions=ALL_LAYERS).attentions
    assert torch.equal(maps[1], expected[1])
    for index in ALL_LAYERS:
        assert torch.equal(maps[index] > 0, expected[index] > 0)


@every_family
def test_all_other_dropout_stays_and_the_maps_own_comes_back(family: str) -> None:
    model = with_dropout(family, on_maps=0.5, elsewhere=0.5)
    plain, config = [dropout_of(module) for module in model.modules()], model.config.to_dict()
    with eager_attention(model):
        inside = [dropout_of(module) for module in model.modules()]
        assert sum(before != now for before, now in zip(plain, inside, strict=True)) == LAYERS
        assert model.config.to_dict() == config
    assert [dropout_of(module) for module in model.modules()] == plain


def dropout_of(module: nn.Module) -> float:
    return module.p if isinstance(module, nn.Dropout) else getattr(module, "attention_dropout", 0.0)


@every_family
def test_maps_after_dropout_are_refused(family: str) -> None:
    model = with_dropout(family, on_maps=0.5)
    model.set_attn_implementation("eager")
    with pytest.raises(DistillationError, match=r"must sum to 1.*eager_attention"):
        capture(model, attentions=[2])


# ---- Eager attention ----


@pytest.mark.parametrize("earlier", ["sdpa", "eager"])
def test_the_earlier_attention_comes_back(earlier: str) -> None:
    model = build("bert")
    model.set_attn_implementation(earlier)
    stop = pytest.raises(RuntimeError, match="stop")
    with stop, eager_attention(model):
        assert model.config._attn_implementation == "eager"
        raise RuntimeError("stop")
    assert model.config._attn_implementation == earlier


def test_what_changes_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    model = with_dropout("bert", on_maps=0.25)
    with caplog.at_level(logging.INFO, logger="distilnlp.models.captures"), eager_attention(model):
        capture(model, attentions=[1])
        capture(model, attentions=[1])
        with eager_attention(model):
            pass
    assert len(caplog.messages) == 1
    for said in ("BertForSequenceClassification", "eager instead of sdpa", "no dropout (instead of p=0.25)"):
        assert said in caplog.messages[0]


@pytest.mark.parametrize("family", [family for family in ALL_FAMILIES if family not in ALWAYS_EAGER])
def test_attention_that_gives_no_map_is_an_error(family: str) -> None:
    with pytest.raises(DistillationError, match=r"hidden state 3.*gave none.*eager_attention"):
        capture(build(family), attentions=[3])


# ---- What is left and what is held ----


@every_family
def test_hooks_are_on_the_layers_asked_for_and_gone_afterwards(family: str) -> None:
    model, untouched = build(family), build(family)
    pairs = list(zip(layers_of(model), layers_of(untouched), strict=True))
    stop = pytest.raises(RuntimeError, match="stop")
    with stop, capturing(model, attentions=[2], qkv=[2, 3]):
        assert [hooks_of(layer) != hooks_of(same) for layer, same in pairs] == [False, True, True, False]
        raise RuntimeError("stop")
    assert hooks_of(model) == hooks_of(untouched)
    capture(model, qkv=ALL_LAYERS)
    assert hooks_of(model) == hooks_of(untouched)


@every_family
@torch.no_grad()
def test_only_what_was_asked_for_is_held_and_by_the_captures_alone(family: str) -> None:
    model = build(family)
    shape = (len(LENGTHS), HEADS, max(LENGTHS), max(LENGTHS))
    with eager_attention(model), capturing(model, attentions=[3], qkv=[1]) as captures:
        model(**padded_batch())
        gc.collect()
        maps = [held for held in gc.get_objects() if type(held) is Tensor and held.shape == shape]
        assert [held is captures.attentions[3] for held in maps] == [True]
    assert (list(captures.attentions), list(captures.qkv)) == ([3], [1])
    references = [weakref.ref(captures.attentions[3]), *map(weakref.ref, captures.qkv[1])]
    del captures, maps
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


# ---- What is refused ----


@pytest.mark.parametrize(("index", "said"), [(0, "embeddings"), (LAYERS + 1, "got 5"), (-1, "got -1")])
@pytest.mark.parametrize("kind", ["attentions", "qkv"])
def test_an_index_out_of_range_is_refused(kind: str, index: int, said: str) -> None:
    with pytest.raises(DistillationError, match=said):
        capture(build("bert"), **{kind: [1, index]})


def test_a_block_without_a_forward_pass_is_an_error() -> None:
    refusal = pytest.raises(DistillationError, match=r"nothing was captured for the hidden states \[2, 4\]")
    with refusal, capturing(build("bert"), attentions=[2], qkv=[4]):
        pass


def test_layers_compiled_without_the_hooks_are_an_error() -> None:
    model = build("bert")
    for layer in layers_of(model):
        layer.compile(backend="eager")
    model(**padded_batch())
    with pytest.raises(DistillationError, match="ran compiled"):
        capture(model, attentions=[1], qkv=[2])


def test_data_parallel_is_refused() -> None:
    model = build("bert")
    layers_of(model)[1]._is_replica = True  # as torch marks the copies that it splits a batch among
    with pytest.raises(DistillationError, match="DataParallel"):
        capture(model, qkv=[2])


@pytest.mark.parametrize("model_type", ["gpt2", None, *DEPTH_ONLY])
def test_an_unknown_family_is_refused_with_those_that_can(model_type: str | None) -> None:
    with pytest.raises(DistillationError, match=rf"bert, roberta, .*modernbert; got {model_type!r}"):
        check_capturable(model_type)


@pytest.mark.parametrize("family", sorted(set(ALL_FAMILIES) - set(PLAIN_SCORES)))
def test_a_family_with_other_scores_is_refused_for_plain_scores_alone(family: str) -> None:
    assert check_capturable(family)
    with pytest.raises(DistillationError, match=rf"just that: {', '.join(PLAIN_SCORES)}; in"):
        check_capturable(family, needs_plain_scores=True)


def test_any_model_will_do_where_nothing_is_captured() -> None:
    with capturing(nn.Linear(1, 1)) as captures:
        assert captures == Captures()
    with pytest.raises(DistillationError, match="transformers model, but got Linear"):
        capture(nn.Linear(1, 1), qkv=[1])


def test_the_layers_are_found_behind_any_head() -> None:
    model = build("bert")
    assert layers_of(model) == layers_of(model.bert) == list(model.bert.encoder.layer)
