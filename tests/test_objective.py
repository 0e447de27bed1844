"""The objective: what each component counts, how layers are paired, which projections exist, and what is refused."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from distilnlp.errors import DistillationError
from distilnlp.objective import Objective, parse_losses
from distilnlp.objective.component import ModelPair
from distilnlp.objective.feature import HiddenStatesConfig
from distilnlp.objective.layer_mapping import like_to_like, resolve_layer_mapping
from distilnlp.signals import SignalProfile, SignalRequest, Signals, named_inputs
from distilnlp.students import build_student, select_layers
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, profile_of
from distilnlp.tasks.forward import forward
from distilnlp.teachers import as_teacher
from tests.conftest import sharp, tiny_teacher
from tests.tiny import tiny_model

TASK = SINGLE_LABEL_CLASSIFICATION

BOTH = [{"name": "hidden_state_cosine", "weight": 3.0}, {"name": "hidden_state_mse", "weight": 2.0}]
NARROW = SignalProfile(None, num_labels=3, num_hidden_states=3, hidden_size=8)
WIDE = SignalProfile(None, num_labels=3, num_hidden_states=5, hidden_size=16)


def objective(losses: list[dict[str, Any]] = BOTH, teacher: SignalProfile = WIDE, **weights: float) -> Objective:
    weights = {"hard_loss_weight": 0.5, "soft_loss_weight": 1.0, **weights}
    return Objective(
        SINGLE_LABEL_CLASSIFICATION,
        temperature=2.0,
        losses=parse_losses(losses),
        student=NARROW,
        teacher=teacher,
        **weights,
    )


def batch(labels: list[int] | None = None) -> dict[str, Tensor]:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    ragged = {"input_ids": torch.ones_like(mask), "attention_mask": mask}
    return ragged if labels is None else {**ragged, "labels": torch.tensor(labels)}


def signals(profile: SignalProfile, seed: int = 0) -> Signals:
    generator = torch.Generator().manual_seed(seed)
    states = [torch.randn(3, 4, profile.hidden_size, generator=generator) for _ in range(profile.num_hidden_states)]
    logits = torch.randn(3, 3, generator=generator)
    return Signals(logits=logits, mask=batch()["attention_mask"].bool(), hidden_states=tuple(states))


# ---- Components ----


def test_components_are_in_the_order_hard_soft_then_as_listed() -> None:
    assert objective().names == ["hard_loss", "soft_loss", "hidden_state_cosine", "hidden_state_mse"]


def test_a_component_without_weight_is_left_out() -> None:
    without = objective([{"name": "hidden_state_mse", "weight": 0}], hard_loss_weight=0.0)
    assert without.names == ["soft_loss"]
    assert without.student_request == without.teacher_request == SignalRequest()
    assert len(without.projections) == 0


def test_hidden_states_are_requested_for_feature_losses_alone() -> None:
    made = objective([{"name": "hidden_state_mse", "layer_mapping": [[0, 0], [2, 4]]}])
    assert made.student_request == SignalRequest(hidden_states=frozenset({0, 2}))
    assert made.teacher_request == SignalRequest(hidden_states=frozenset({0, 4}))
    assert objective([]).student_request == objective([]).teacher_request == SignalRequest()


@pytest.mark.parametrize(
    ("labels", "labelled"), [([0, -100, 2], 2), ([-100, -100, -100], 0), (None, 0)], ids=["some", "none", "no column"]
)
def test_each_component_counts_its_own_items(labels: list[int] | None, labelled: int) -> None:
    assert objective().count(batch(labels)).tolist() == [labelled, 3, 9, 9]


def test_without_attention_mask_every_token_counts() -> None:
    assert objective().count({"input_ids": torch.ones(2, 5, dtype=torch.long)}).tolist() == [0, 2, 10, 10]


@pytest.mark.parametrize("labels", [[-100, -100, -100], None], ids=["no label", "no column"])
def test_without_labels_the_hard_loss_is_zero_and_keeps_its_graph(labels: list[int] | None) -> None:
    student = signals(NARROW)
    student.logits.requires_grad_()
    value = objective([])(student, signals(WIDE, 1), batch(labels))[0]
    value.backward()
    assert value.item() == 0
    assert (student.logits.grad == 0).all()


def test_values_are_unweighted_and_the_total_is_weighted() -> None:
    same_width = objective(BOTH, teacher=SignalProfile(None, 3, 5, hidden_size=8))
    student, teacher = signals(NARROW), signals(SignalProfile(None, 3, 5, hidden_size=8), 1)
    values = same_width(student, teacher, batch([0, 1, 2]))
    doubled = objective(BOTH, SignalProfile(None, 3, 5, 8), hard_loss_weight=1.0)(student, teacher, batch([0, 1, 2]))
    assert torch.equal(values, doubled)
    expected = sum(weight * value for weight, value in zip([0.5, 1.0, 3.0, 2.0], values.tolist(), strict=True))
    assert same_width.total(values).item() == pytest.approx(expected, rel=1e-6)


def test_num_items_divides_each_component_by_its_own() -> None:
    own_width = SignalProfile(None, 3, 5, hidden_size=8)
    student, teacher, rows = signals(NARROW), signals(own_width, 1), batch([0, -100, 2])
    means = objective(BOTH, own_width)(student, teacher, rows)
    counts, given = torch.tensor([2, 3, 9, 9]), torch.tensor([10, 20, 30, 40])
    assert torch.allclose(objective(BOTH, own_width)(student, teacher, rows, given), means * counts / given)


def test_a_feature_loss_is_the_mean_over_its_pairs() -> None:
    own_width = SignalProfile(None, 3, 5, hidden_size=8)
    student, teacher = signals(NARROW), signals(own_width, 1)

    def value(pairs: list[list[int]]) -> Tensor:
        mse = [{"name": "hidden_state_mse", "layer_mapping": pairs}]
        return objective(mse, own_width)(student, teacher, batch())[2]

    assert torch.allclose(value([[0, 1], [2, 3]]), (value([[0, 1]]) + value([[2, 3]])) / 2)


def test_hidden_states_without_the_same_tokens_are_refused() -> None:
    student, teacher = signals(NARROW), signals(SignalProfile(None, 3, 5, hidden_size=8), 1)
    same_width = objective(BOTH[:1], teacher=SignalProfile(None, 3, 5, hidden_size=8))
    for mask, message in ((None, "its signals have no mask"), (torch.ones(3, 5).bool(), "different pieces")):
        with pytest.raises(DistillationError, match=f"hidden_state_cosine.*{message}"):
            same_width(student, replace(teacher, mask=mask), batch())


# ---- Projections ----


def test_each_loss_projects_the_states_it_reads() -> None:
    pairs = [[0, 0], [2, 4]]
    made = objective(
        [{"name": "hidden_state_mse", "layer_mapping": pairs}, {"name": "hidden_state_cosine"}]
    ).projections
    assert sorted(made.states.values()) == [0, 1, 2, 2]
    assert len(made) == 4
    projected = made(signals(NARROW).hidden_states)
    assert {value.shape for value in projected.values()} == {(3, 4, 16)}


def test_equal_widths_need_no_projection() -> None:
    assert len(objective(teacher=SignalProfile(None, 3, 5, hidden_size=8)).projections) == 0


# ---- Layer mappings ----


@pytest.mark.parametrize(
    ("strategy", "student_layers", "teacher_layers", "expected"),
    [
        ("uniform", 3, 12, [(1, 4), (2, 8), (3, 12)]),
        ("uniform", 4, 4, [(1, 1), (2, 2), (3, 3), (4, 4)]),
        ("first", 2, 6, [(1, 1), (2, 2)]),
        ("last", 2, 6, [(1, 5), (2, 6)]),
        ("first", 3, 2, [(1, 1), (2, 2), (3, 2)]),
        ("last", 3, 2, [(1, 1), (2, 2), (3, 2)]),
    ],
)
def test_strategies(strategy: str, student_layers: int, teacher_layers: int, expected: list[tuple[int, int]]) -> None:
    assert resolve_layer_mapping(strategy, student_layers + 1, teacher_layers + 1) == expected


@pytest.mark.parametrize("strategy", ["uniform", "first", "last"])
@pytest.mark.parametrize("student_layers", [1, 2, 5, 7])
@pytest.mark.parametrize("teacher_layers", [1, 3, 5, 12])
def test_a_strategy_pairs_every_student_layer_in_order(strategy: str, student_layers: int, teacher_layers: int) -> None:
    pairs = resolve_layer_mapping(strategy, student_layers + 1, teacher_layers + 1)
    teachers = [teacher for _, teacher in pairs]
    assert [student for student, _ in pairs] == list(range(1, student_layers + 1))
    assert teachers == sorted(teachers)
    assert all(1 <= teacher <= teacher_layers for teacher in teachers), "strategies leave out the embeddings"
    if strategy == "uniform":
        assert teachers[-1] == teacher_layers


def test_pairs_are_taken_as_they_are() -> None:
    assert resolve_layer_mapping([[0, 0], (2, 4)], 3, 5) == [(0, 0), (2, 4)]


@pytest.mark.parametrize(
    ("mapping", "teacher_states", "message"),
    [
        ("unifrom", 5, "Did you mean 'uniform'"),
        ([], 5, "empty"),
        ([(3, 1)], 5, r"student's index must be between 0 \(embeddings\) and 2 .*it is 3"),
        ([(1, 5)], 5, r"teacher's index must be between 0 \(embeddings\) and 4 .*it is 5"),
        ([(1, 1), (-1, 4)], 5, "student's index .*it is -1"),
        ("uniform", 0, "only logits"),
        ([(1, 1)], 0, "only logits"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(mapping: Any, teacher_states: int, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        resolve_layer_mapping(mapping, 3, teacher_states)


def test_an_ensemble_gives_no_hidden_states() -> None:
    ensemble = as_teacher([tiny_teacher(), tiny_teacher(seed=2)])
    with pytest.raises(DistillationError, match="ensemble"):
        objective(teacher=ensemble.profile)


# ---- The list `losses` ----


def test_entries_become_configs() -> None:
    entry = {"name": "hidden_state_mse", "weight": 2, "layer_mapping": [[1, 2]]}
    assert parse_losses([entry]) == [HiddenStatesConfig(name="hidden_state_mse", weight=2.0, layer_mapping=[(1, 2)])]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "hidden_state_mes"}], r"losses\[0\].*Did you mean 'hidden_state_mse'"),
        ([BOTH[0], {"name": "attention"}], r"losses\[1\].*'attention'"),
        ([{"name": "hidden_state_mse", "wieght": 1}], r"losses\[0\]\.wieght.*Did you mean 'weight'"),
        ([{"weight": 1}], r"losses\[0\]\.name.*missing"),
        ([{"name": "hidden_state_mse", "weight": -1}], r"losses\[0\]\.weight.*-1"),
        ([{"name": "hidden_state_mse", "weight": math.nan}], r"losses\[0\]\.weight.*nan"),
        ([{"name": "hidden_state_mse", "weight": math.inf}], r"losses\[0\]\.weight.*inf"),
        ([{"name": "hidden_state_mse", "layer_mapping": [[1, 2, 3]]}], r"losses\[0\]\.layer_mapping"),
        ([BOTH[0], BOTH[0]], "twice"),
        (["hidden_state_mse"], r"losses\[0\].*hidden_state_mse"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused(entries: list[Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        parse_losses(entries)


# ---- Local attention ----


def test_local_layers_meet_local_ones_and_global_ones_meet_global_ones() -> None:
    depth = range(22)
    teacher = [0 if layer % 3 == 0 else 128 for layer in depth]
    student = [teacher[layer] for layer in select_layers(22, 11)]
    pairs = like_to_like(resolve_layer_mapping("uniform", 12, 23), student, teacher)
    assert [own for own, _ in pairs] == list(range(1, 12))
    assert all((student[own - 1] == 0) == (teacher[other - 1] == 0) for own, other in pairs)
    assert all(abs(other - 2 * own) <= 2 for own, other in pairs)
    assert like_to_like([(1, 3), (2, 6)], [], []) == [(1, 3), (2, 6)]
    assert like_to_like([(1, 3)], [8], []) == [(1, 3)]


@pytest.mark.parametrize("strategy", ["uniform", "first", "last"])
def test_attention_kl_of_local_attention_asks_for_nothing_impossible(strategy: str) -> None:
    teacher = sharp(tiny_model("modernbert", num_hidden_layers=6)).double()
    student = build_student(teacher, layers=[0, 1, 4]).double()
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    profiles = profile_of(student), profile_of(teacher)
    assert profiles[0].attention_windows == (0, 8, 8)
    loss = parse_losses([{"name": "attention_kl", "layer_mapping": strategy}])[0].build(ModelPair(TASK, *profiles))
    batch = {"input_ids": torch.randint(5, 24, (2, 30)), "attention_mask": torch.ones(2, 30, dtype=torch.long)}
    for model in (student, teacher):
        model.set_attn_implementation("eager")
    signals = [
        forward(model, TASK, batch, named_inputs(model), request)[0]
        for model, request in ((student, loss.student_request), (teacher, loss.teacher_request))
    ]
    naive = [
        torch.where(b > 0, b * (b / a).log(), torch.zeros_like(b)).sum(-1).mean()
        for a, b in (
            (signals[0].attentions[own], signals[1].attentions[other])
            for own, other in zip(
                sorted(loss.student_request.attentions), [pair[1] for pair in loss._mapping], strict=True
            )
        )
    ]
    value = loss(*signals, batch, None, 1.0).item()
    assert value == pytest.approx(sum(naive).item() / len(naive), abs=1e-12)
    assert value < 1.0


def test_a_local_layer_without_a_counterpart_is_left_out() -> None:
    local = profile_of(tiny_model("modernbert"))
    models = ModelPair(TASK, local, profile_of(tiny_model(num_hidden_layers=8)))
    loss = parse_losses([{"name": "attention_kl"}])[0].build(models)
    assert local.attention_windows == (0, 8, 8, 0)
    assert (loss.student_request.attentions, loss.teacher_request.attentions) == ({1, 4}, {2, 8})


@pytest.mark.parametrize(("pair", "needs"), [([2, 1], "the whole text"), ([3, 4], "the whole text")])
def test_attention_kl_refuses_a_pair_that_cannot_be_learned(pair: list[int], needs: str) -> None:
    teacher = tiny_model("modernbert", num_hidden_layers=6)
    models = ModelPair(TASK, profile_of(build_student(teacher, layers=[0, 1, 4])), profile_of(teacher))
    with pytest.raises(
        DistillationError, match=rf"asks a layer whose attention sees 8 tokens for that of one .*{needs}"
    ):
        parse_losses([{"name": "attention_kl", "layer_mapping": [pair]}])[0].build(models)
    assert parse_losses([{"name": "attention_mse", "layer_mapping": [pair]}])[0].build(models)
