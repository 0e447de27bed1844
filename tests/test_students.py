"""Students against naive references: a deep copy of the teacher whose layer list is cut by hand."""

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from distilnlp.errors import DistillationError
from distilnlp.signals import named_inputs, select_inputs
from distilnlp.students import build_student, estimate_cost, select_layers, trim_vocabulary
from tests.tiny import FAMILIES, SHAPE, TOPICS, tiny_model, tiny_tokenizer
from tests.width_tools import has_head

LAYER_LISTS = {
    "distilbert": ("transformer", "layer"),
    **dict.fromkeys(("modernbert", "nomic_bert", "gte", "eurobert", "jina_embeddings_v3"), ("", "layers")),
    "xlnet": ("", "layer"),
}
CHOSEN = [0, 2, 3]  # for ModernBERT full, sliding, full: not the pattern that three layers would get by default
HEADS = (AutoModel, AutoModelForTokenClassification, AutoModelForQuestionAnswering, AutoModelForMaskedLM)


@cache
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(5, SHAPE["vocab_size"], (3, 24), generator=generator)
    attention_mask = (torch.arange(24) < torch.tensor([[24], [15], [9]])).long()
    return {
        "input_ids": input_ids * attention_mask,
        "attention_mask": attention_mask,
        "token_type_ids": torch.zeros_like(input_ids),
    }


def emitted(model: PreTrainedModel) -> tuple[Tensor, ...]:
    """Hidden states at the real tokens, then the outputs of the head."""
    with torch.no_grad():
        outputs = model(**select_inputs(batch(), named_inputs(model)), output_hidden_states=True, return_dict=True)
    is_token = batch()["attention_mask"].bool()
    heads = [outputs[name] for name in ("logits", "start_logits", "end_logits") if name in outputs]
    return (*(state[is_token] for state in outputs.hidden_states), *heads)


def assert_same(first: PreTrainedModel, second: PreTrainedModel, atol: float = 1e-6) -> None:
    torch.testing.assert_close(emitted(first), emitted(second), rtol=0, atol=atol)


def cut_by_hand(teacher: PreTrainedModel, layers: Sequence[int]) -> PreTrainedModel:
    model = copy.deepcopy(teacher)
    container, name = LAYER_LISTS.get(model.config.model_type, ("encoder", "layer"))
    owner = model.base_model.get_submodule(container)
    setattr(owner, name, nn.ModuleList([getattr(owner, name)[layer] for layer in layers]))
    return model


def with_head(auto_class: Any, family: str = "bert", **settings: Any) -> PreTrainedModel:
    config = copy.deepcopy(tiny_model(family).config)
    config.num_labels = 2
    for name, value in settings.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    model = auto_class.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def hidden_states(model: PreTrainedModel) -> tuple[Tensor, ...]:
    return emitted(model)[: model.config.num_hidden_layers + 1]


# --- the same family ---


@pytest.mark.parametrize("family", FAMILIES)
def test_full_depth_copy_equals_the_teacher(family: str) -> None:
    teacher = tiny_model(family)
    assert_same(build_student(teacher, num_layers=4), teacher)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ask", [{"layers": CHOSEN}, {"num_layers": 2}, {"num_layers": 3, "layer_strategy": "first"}])
def test_student_equals_a_teacher_cut_by_hand(family: str, ask: dict[str, Any]) -> None:
    teacher = tiny_model(family)
    layers = ask.get("layers") or ([0, 3] if ask["num_layers"] == 2 else [0, 1, 2])
    student = build_student(teacher, **ask)
    assert type(student) is type(teacher)
    assert_same(student, cut_by_hand(teacher, layers))
    assert student.config.num_hidden_layers == len(layers)
    assert teacher.config.num_hidden_layers == 4


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "modernbert"])
def test_last_layers_of_a_family_without_a_special_first_layer(family: str) -> None:
    teacher = tiny_model(family)
    assert_same(build_student(teacher, num_layers=2, layer_strategy="last"), cut_by_hand(teacher, [2, 3]))


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_student_reloads_equal_with_its_real_depth(family: str, tmp_path: Path) -> None:
    student = build_student(tiny_model(family), layers=CHOSEN)
    student.save_pretrained(tmp_path)
    reloaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert AutoConfig.from_pretrained(tmp_path).num_hidden_layers == 3
    assert_same(reloaded, student, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_student_keeps_the_settings_of_the_teacher(family: str) -> None:
    teacher = tiny_model(family)
    teacher.config.problem_type = "multi_label_classification"
    teacher.config.name_or_path = "someone/teacher"
    before = teacher.config.to_dict()
    student = build_student(teacher, num_layers=2)
    assert teacher.config.to_dict() == before
    after = student.config.to_dict()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"num_hidden_layers", "n_layers", "layer_types", "_name_or_path", "dtype"}
    assert list(student.config.id2label.values()) == list(TOPICS)
    assert (student.name_or_path, student.config._name_or_path) == ("", "")


@pytest.mark.parametrize("family", FAMILIES)
def test_teacher_is_untouched_when_the_student_changes(family: str) -> None:
    teacher = tiny_model(family)
    before = emitted(teacher)
    student = build_student(teacher, num_layers=4)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    student.config.id2label[0] = "other"
    torch.testing.assert_close(emitted(teacher), before, rtol=0, atol=0)
    assert teacher.config.id2label[0] == TOPICS[0]


@pytest.mark.parametrize("model_type", [None, "distilbert"])
def test_student_of_a_frozen_teacher_is_trainable(model_type: str | None) -> None:
    teacher = tiny_model().train().requires_grad_(False)
    student = build_student(teacher, num_layers=2, model_type=model_type)
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not any(module.training for module in student.modules())


@pytest.mark.parametrize(("family", "model_type"), [("bert", None), ("bert", "distilbert"), ("modernbert", None)])
def test_dtype_and_attention_implementation_are_kept(family: str, model_type: str | None) -> None:
    teacher = AutoModelForSequenceClassification.from_config(
        tiny_model(family).config, dtype=torch.bfloat16, attn_implementation="eager"
    ).eval()
    teacher.config.dtype = torch.float32  # out of date, as after a conversion in memory
    student = build_student(teacher, num_layers=4, model_type=model_type)
    assert {weight.dtype for weight in student.state_dict().values()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in student.buffers()} == {buffer.dtype for buffer in teacher.buffers()}
    assert (student.config._attn_implementation, student.config.dtype) == ("eager", torch.bfloat16)
    if model_type is None:
        assert_same(student, teacher, atol=0)


@pytest.mark.parametrize(
    ("family", "head"), [(family, head) for family in FAMILIES for head in HEADS if has_head(family, head)]
)
def test_other_heads_are_cut_the_same_way(family: str, head: Any) -> None:
    teacher = with_head(head, family)
    student = build_student(teacher, layers=CHOSEN)
    assert type(student) is type(teacher)
    assert_same(student, cut_by_hand(teacher, CHOSEN))


def test_tied_weights_stay_tied_to_each_other_and_apart_from_the_teacher() -> None:
    teacher = with_head(AutoModelForMaskedLM)
    student = build_student(teacher, num_layers=2)
    embeddings = student.get_input_embeddings().weight
    assert student.get_output_embeddings().weight is embeddings
    assert embeddings.data_ptr() != teacher.get_input_embeddings().weight.data_ptr()


def test_modernbert_settings_follow_the_layers() -> None:
    config = tiny_model("modernbert").config
    config.global_attn_every_n_layers = 3  # as in the configs on the Hub
    teacher = AutoModelForSequenceClassification.from_config(config)
    student = build_student(teacher, layers=[0, 3])
    assert student.config.layer_types == ["full_attention", "full_attention"]
    assert not hasattr(student.config, "global_attn_every_n_layers")
    assert teacher.config.global_attn_every_n_layers == 3
    assert build_student(teacher, layers=[0, 1]).config.global_attn_every_n_layers == 3  # still true


# --- what is asked ---


@pytest.mark.parametrize(
    ("depth", "num_layers", "strategy", "expected"),
    [
        (12, 6, "uniform", [0, 2, 4, 7, 9, 11]),
        (12, 3, "uniform", [0, 6, 11]),
        (12, 4, "uniform", [0, 4, 7, 11]),
        (12, 2, "uniform", [0, 11]),
        (12, 1, "uniform", [0]),
        (4, 4, "uniform", [0, 1, 2, 3]),
        (22, 6, "uniform", [0, 4, 8, 13, 17, 21]),
        (12, 3, "first", [0, 1, 2]),
        (12, 3, "last", [9, 10, 11]),
    ],
)
def test_strategies(depth: int, num_layers: int, strategy: Any, expected: list[int]) -> None:
    assert select_layers(depth, num_layers, strategy) == expected


@pytest.mark.parametrize("depth", [1, 2, 5, 12, 24])
def test_uniform_layers_strictly_increase_from_end_to_end(depth: int) -> None:
    for num_layers in range(1, depth + 1):
        layers = select_layers(depth, num_layers)
        assert len(set(layers)) == num_layers
        assert layers == sorted(layers)
        assert layers[0] == 0
        assert num_layers == 1 or layers[-1] == depth - 1


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"layers": [0, 4]}, r"between 0 and 3.*got \[0, 4\]. Remove \[4\]"),
        ({"layers": [-1, 0]}, r"between 0 and 3.*Remove \[-1\]"),
        ({"layers": [0, 1, 1]}, r"strictly increase.*got \[0, 1, 1\]. Use \[0, 1\]"),
        ({"layers": [2, 0]}, r"strictly increase.*got \[2, 0\]. Use \[0, 2\]"),
        ({"layers": []}, r"at least one teacher layer; got an empty list"),
        ({"num_layers": 0}, r"between 1 and the teacher's 4 layers; got 0"),
        ({"num_layers": 5}, r"between 1 and the teacher's 4 layers; got 5"),
        ({"num_layers": 2, "layers": [0, 1]}, r"not both; got layers=\[0, 1\] and num_layers=2"),
        ({}, r"got none. Set num_layers, at most 4"),
        ({"model_type": "bert"}, r"got none"),
        (
            {"num_layers": 2, "layer_strategy": "unifrom"},
            r"uniform, first, last; got 'unifrom'. Did you mean 'uniform'",
        ),
        ({"num_layers": 2, "model_type": "roberta"}, r"model_type bert or distilbert; got 'roberta'"),
    ],
)
def test_wrong_ask_is_refused(ask: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        build_student(tiny_model(), **ask)


def test_own_model_type_is_the_same_as_none() -> None:
    teacher = tiny_model()
    assert_same(build_student(teacher, num_layers=2, model_type="bert"), build_student(teacher, num_layers=2), atol=0)


def test_other_family_without_a_conversion_is_refused() -> None:
    with pytest.raises(DistillationError, match=r"A roberta teacher .* model_type roberta; got 'distilbert'"):
        build_student(tiny_model("roberta"), model_type="distilbert")


@pytest.mark.parametrize("family", ["fnet", "t5", "bart", "xlm"])
def test_unsupported_family_is_refused(family: str) -> None:
    with pytest.raises(DistillationError, match=rf"bert, .*xlnet; got '{family}'. .*student.model.*hidden states"):
        build_student(tiny_model(family), num_layers=1)


@pytest.mark.parametrize("ask", [{"layers": [1, 2]}, {"num_layers": 2, "layer_strategy": "last"}])
@pytest.mark.parametrize(
    ("family", "shape", "why"),
    [("modernbert", {}, "has no norm"), ("deberta-v2", {"conv_kernel_size": 3}, "has a convolution")],
)
def test_a_student_without_a_special_layer_0_is_refused(
    family: str, shape: dict[str, Any], why: str, ask: dict[str, Any]
) -> None:
    with pytest.raises(DistillationError, match=rf"begin with the teacher's layer 0, which {why}.*Put 0 first"):
        build_student(tiny_model(family, **shape), **ask)


def test_a_convolution_stays_beside_layer_0() -> None:
    teacher = tiny_model("deberta-v2", conv_kernel_size=3)
    assert_same(build_student(teacher, layers=[0, 2]), cut_by_hand(teacher, [0, 2]))


def test_teacher_whose_config_misstates_its_depth_is_refused() -> None:
    with pytest.raises(DistillationError, match=r"says 4 layers and the model has 2"):
        build_student(cut_by_hand(tiny_model(), [0, 1]), num_layers=2)


def test_teacher_with_a_replaced_module_is_refused() -> None:
    teacher = tiny_model()
    teacher.classifier = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    with pytest.raises(
        DistillationError, match=r"exactly those of a BertForSequenceClassification[\s\S]*classifier\.0"
    ):
        build_student(teacher, num_layers=2)


# ---- Where the teacher is, and sizes that are none ----


@pytest.mark.parametrize("task", [AutoModelForMaskedLM, AutoModelForSequenceClassification])
def test_a_folder_is_loaded_with_the_head_that_was_saved(task: Any, tmp_path: Path) -> None:
    teacher = task.from_config(tiny_model().config)
    teacher.save_pretrained(tmp_path)
    for given in (str(tmp_path), tmp_path):
        student = build_student(given, num_layers=2)
        assert type(student) is type(teacher)
        assert torch.equal(student.get_input_embeddings().weight, teacher.get_input_embeddings().weight)
        assert estimate_cost(given, given, length=20).total_parameters == teacher.num_parameters()
    tiny_tokenizer().save_pretrained(tmp_path)
    trimmed, tokenizer = trim_vocabulary(tmp_path, str(tmp_path), ["the film"])
    assert trimmed.config.vocab_size == len(tokenizer) < teacher.config.vocab_size


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DistillationError, match=r"cannot load the model 'nowhere/at-all': it must be a local folder .* or a Hub"
    ):
        build_student("nowhere/at-all", num_layers=1)
    with pytest.raises(
        DistillationError, match="expected a model of transformers, its folder or its Hub id, but got int"
    ):
        build_student(3, num_layers=1)  # type: ignore[arg-type]
    for name in ("~nobody-of-this-name/model", ""):
        with pytest.raises(DistillationError, match="cannot load the model"):
            build_student(name, num_layers=1)
    bare = tiny_model()
    bare.config.architectures = None
    bare.config.save_pretrained(tmp_path)
    with pytest.raises(DistillationError, match=r"must name the class that was saved, .* but it names None"):
        build_student(tmp_path, num_layers=1)
    AutoModel.from_config(bare.config).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    config.architectures = ["BertForSequenceClassification"]
    config.save_pretrained(tmp_path)
    with pytest.raises(DistillationError, match="lacks 2 of the weights of a BertForSequenceClassification"):
        build_student(tmp_path, num_layers=1)


@pytest.mark.parametrize(
    "sizes",
    [
        {"num_layers": 2.0},
        {"num_layers": 2.5},
        {"num_layers": "2"},
        {"num_layers": True},
        {"layers": [0, 1.0]},
        {"layers": 2.0},
        {"layers": "02"},
        {"hidden_size": 8.0},
        {"num_layers": 2, "num_attention_heads": 1.0},
        {"intermediate_size": [8.0]},
    ],
)
def test_sizes_that_are_no_whole_numbers_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(DistillationError, match=r"must be (a whole number|whole numbers); got"):
        build_student(tiny_model(), **sizes)


def test_sizes_of_numpy_are_whole_numbers_too() -> None:
    teacher = tiny_model()
    assert build_student(teacher, num_layers=np.int64(2)).config.num_hidden_layers == 2
    assert build_student(teacher, layers=np.array([0, 3])).config.num_hidden_layers == 2
