"""What a model costs, against formulas written from the papers and against real forward passes."""

import copy
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from distilnlp.errors import DistillationError
from distilnlp.students import build_student, estimate_cost
from tests.tiny import LIKE_BERT as SAME_PARTS
from tests.tiny import SHAPE, tiny_model

LENGTH = 24
LIKE_BERT = ("bert", *SAME_PARTS, "electra", "mpnet", "distilbert")
ALL_FAMILIES = (*LIKE_BERT, "modernbert", "deberta-v2")
HEADS: dict[str, Any] = {
    "none": AutoModel,
    "sequence": AutoModelForSequenceClassification,
    "tokens": AutoModelForTokenClassification,
    "questions": AutoModelForQuestionAnswering,
    "masked": AutoModelForMaskedLM,
    "choices": AutoModelForMultipleChoice,
}


def config_of(family: str, **settings: Any) -> Any:
    if family == "deberta-v2":
        positions = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8}
        config = AutoConfig.for_model(family, **{**SHAPE, **positions, **settings})
    elif family == "albert":
        config = AutoConfig.for_model(family, **{**SHAPE, **settings})
    else:
        config = copy.deepcopy(tiny_model(family, **settings).config)
    config.num_labels = 2
    return config


def make(family: str, head: str = "sequence", attention: str = "eager", **settings: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    return HEADS[head].from_config(config_of(family, **settings), attn_implementation=attention)


@cache
def flops_per_token(family: str, head: str) -> float:
    return estimate_cost(make(family, head), length=LENGTH).flops_per_token


# ---- FLOPs ----


def naive_flops(model: PreTrainedModel, once_a_text: tuple[str, ...]) -> int:
    """Two for each weight of a linear layer and token; in each layer q·k and the mix of v, two each per pair."""
    total = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            runs = 1 if name.startswith(once_a_text) else LENGTH
            total += 2 * module.in_features * module.out_features * runs
    for _ in range(SHAPE["num_hidden_layers"]):
        total += (2 + 2) * LENGTH * LENGTH * SHAPE["hidden_size"]
    return total


@pytest.mark.parametrize("family", LIKE_BERT)
@pytest.mark.parametrize("head", HEADS)
def test_flops_are_those_of_the_formula(family: str, head: str) -> None:
    base = make(family, head).base_model_prefix
    of_texts = ("classifier", "pre_classifier", "sequence_summary") if head in ("sequence", "choices") else ()
    expected = naive_flops(make(family, head), (*of_texts, f"{base}.pooler", "pooler"))
    assert flops_per_token(family, head) * LENGTH == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("family", ALL_FAMILIES)
@pytest.mark.parametrize("head", ["sequence", "choices"])
def test_flops_are_those_of_a_real_forward_pass(family: str, head: str) -> None:
    model = make(family, head).eval().requires_grad_(False)
    input_ids = torch.randint(5, SHAPE["vocab_size"], (1, 1, LENGTH) if head == "choices" else (1, LENGTH))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
    assert flops_per_token(family, head) * LENGTH == pytest.approx(counter.get_total_flops(), rel=1e-12)


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_a_fused_attention_costs_the_flops_of_a_plain_one(family: str) -> None:
    fused = estimate_cost(make(family, attention="sdpa"), length=LENGTH)
    assert fused == estimate_cost(make(family, attention="eager"), length=LENGTH)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_choice_costs_what_a_text_costs(family: str) -> None:
    one_label = make(family, "sequence")
    one_label.config.num_labels = 1
    one_label = type(one_label)(one_label.config)
    assert flops_per_token(family, "choices") == estimate_cost(one_label, length=LENGTH).flops_per_token


# ---- Activations and speed-up ----


def test_a_layer_of_bert_writes_these_activations() -> None:
    width, inner, maps = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_attention_heads"] * LENGTH
    attention = 6 * width + 4 * maps  # q, k, v, mix, heads joined, output; scores, scaled, masked, softmax
    feed_forward = inner + inner + width  # linear, GELU, linear
    residuals_and_norms = 2 * (width + width + 2)  # each: sum, norm, its mean and deviation
    deep, flat = (estimate_cost(make("bert", num_hidden_layers=depth), length=LENGTH) for depth in (4, 3))
    expected = attention + feed_forward + residuals_and_norms
    assert deep.activations_per_token - flat.activations_per_token == pytest.approx(expected)


def test_a_model_is_as_fast_as_itself_and_a_half_of_it_about_twice() -> None:
    teacher = make("bert", "sequence", hidden_size=32, num_hidden_layers=8)
    assert estimate_cost(teacher, teacher, length=LENGTH).speed_up == 1
    student = build_student(teacher, num_layers=4)
    assert 1.8 < estimate_cost(student, teacher, length=LENGTH).speed_up < 2
    assert estimate_cost(teacher, student, length=LENGTH).speed_up < 1


@pytest.mark.parametrize("width", [4, 8])
def test_a_narrow_model_gains_less_than_its_flops_promise(width: int) -> None:
    cost = estimate_cost(make("bert", hidden_size=width), make("bert", hidden_size=32), length=LENGTH)
    by_flops = cost.reference.flops_per_token / cost.flops_per_token
    by_activations = cost.reference.activations_per_token / cost.activations_per_token
    assert by_activations < cost.speed_up < by_flops


def test_without_a_reference_there_is_no_speed_up() -> None:
    assert estimate_cost(make("bert"), length=LENGTH).speed_up is None


# ---- Parameters and bytes ----


@pytest.mark.parametrize("family", [*ALL_FAMILIES, "albert"])
@pytest.mark.parametrize("head", HEADS)
def test_the_parts_add_up_to_all_parameters(family: str, head: str) -> None:
    model = make(family, head)
    cost = estimate_cost(model, length=LENGTH)
    assert cost.total_parameters == sum(cost.parameters.values()) == model.num_parameters()
    tables = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]  # tied ones too
    assert cost.parameters["embeddings"] == sum({id(table): table.numel() for table in tables}.values())
    assert cost.bytes == 4 * model.num_parameters()


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_the_layers_of_a_family_are_told_apart(family: str) -> None:
    width, inner, layers = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["num_hidden_layers"]
    biases = 0 if family == "modernbert" else 1
    up = 2 * inner if family == "modernbert" else inner  # its feed-forward network is gated
    projections = 6 if family == "deberta-v2" else 4  # q, k, v, output; keys and queries of the relative positions
    parameters = estimate_cost(make(family), length=LENGTH).parameters
    assert parameters["attention"] == layers * projections * (width * width + biases * width)
    assert parameters["feed_forward"] == layers * (width * up + inner * width + biases * (up + width))
    assert parameters["other"] == 0


def test_the_parts_of_bert_are_those_of_its_paper() -> None:
    width, layers, tables = SHAPE["hidden_size"], SHAPE["num_hidden_layers"], SHAPE["vocab_size"] + 40 + 2
    parameters = estimate_cost(make("bert"), length=LENGTH).parameters
    assert parameters["embeddings"] == tables * width
    assert parameters["norms"] == (1 + 2 * layers) * 2 * width
    assert parameters["head"] == (width * width + width) + (2 * width + 2)  # pooler, classifier


def test_a_tied_decoder_counts_once_as_embeddings() -> None:
    tied, untied = make("bert", "masked"), make("bert", "masked", tie_word_embeddings=False)
    costs = [estimate_cost(model, length=LENGTH) for model in (tied, untied)]
    assert costs[0].parameters["embeddings"] == costs[1].parameters["embeddings"]
    own_decoder = SHAPE["vocab_size"] * (SHAPE["hidden_size"] + 1)  # its bias is tied too, to that of the head
    assert costs[1].parameters["head"] - costs[0].parameters["head"] == own_decoder


def test_the_layers_of_an_unknown_family_are_other_parameters() -> None:
    parameters = estimate_cost(make("fnet"), length=LENGTH).parameters
    assert parameters["attention"] == parameters["feed_forward"] == 0
    assert parameters["other"] > 0


def test_half_precision_takes_half_the_bytes() -> None:
    model = make("bert")
    whole = estimate_cost(model, length=LENGTH).bytes
    assert estimate_cost(model.half(), length=LENGTH).bytes * 2 == whole


# ---- What the call needs and leaves ----


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_no_weights_are_needed(family: str) -> None:
    with torch.device("meta"):
        shapes_only = make(family)
    assert estimate_cost(shapes_only, length=LENGTH) == estimate_cost(make(family), length=LENGTH)


def test_the_model_stays_as_it_is() -> None:
    model = make("bert", attention="sdpa").train()
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    estimate_cost(model, length=LENGTH)
    for name, tensor in model.state_dict().items():
        pointer, values = before[name]
        assert tensor.data_ptr() == pointer
        assert torch.equal(tensor, values)
    assert model.config._attn_implementation == "sdpa"
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("length", [0, SHAPE["max_position_embeddings"] + 1])
def test_a_length_that_the_model_cannot_read_is_refused(length: int) -> None:
    with pytest.raises(DistillationError, match=f"between 1 and 40.*got {length}"):
        estimate_cost(make("bert"), length=length)


@pytest.mark.parametrize("family", ["roberta", "mpnet"])
def test_positions_that_hold_no_token_do_not_count(family: str) -> None:
    unused = {"roberta": 1, "mpnet": 2}[family]  # up to the padding id, which is 0, and in MPNet always 1
    with pytest.raises(DistillationError, match=f"between 1 and {40 - unused}.*got 40"):
        estimate_cost(make(family), length=40)


@pytest.mark.parametrize("architecture", ["bart", "longformer", "xlm"])
def test_an_architecture_that_shapes_do_not_tell_of_is_not_estimated(architecture: str) -> None:
    model = tiny_model(architecture)
    cost = estimate_cost(make("bert"), model, length=LENGTH)
    assert cost.reference is not None
    assert cost.reference.total_parameters == model.num_parameters()
    assert (cost.reference.flops_per_token, cost.speed_up) == (None, None)
    lines = str(cost).splitlines()
    assert [line.split()[-3:] for line in lines if line.startswith("FLOPs")] == [["not", "estimated", "–"]]
    assert not any(line.startswith("speed-up") for line in lines)


# ---- The table ----


def test_the_table_has_both_models_side_by_side() -> None:
    teacher = make("bert", num_hidden_layers=8)
    cost = estimate_cost(build_student(teacher, num_layers=2), teacher, length=LENGTH)
    lines = str(cost).splitlines()
    assert lines[0].split() == ["model", "reference", "ratio"]
    assert len({len(line) for line in lines}) == 1
    by_title = {line.split("  ")[0]: line.split() for line in lines}
    assert by_title["parameters: attention"][-1] == "4.0×"
    assert by_title["parameters: embeddings"][2:] == ["1.1", "k", "1.1", "k", "1.0×"]
    assert by_title["speed-up, estimated"][-1] == f"{cost.speed_up:.1f}×"
    assert "parameters: other" not in by_title


def test_the_table_of_one_model_has_no_ratios() -> None:
    lines = str(estimate_cost(make("bert"), length=LENGTH)).splitlines()
    assert lines[0].split() == ["model"]
    assert not any("×" in line or "speed-up" in line for line in lines)
