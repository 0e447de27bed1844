"""Teachers: frozen, in eval mode and in their own dtype; ensembles by a naive loop; label order by name; refusals."""

import copy
import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, Trainer, TrainingArguments

from distilnlp import EnsembleTeacher, LiveTeacher, Signals, Teacher
from distilnlp.errors import DistillationError
from distilnlp.signals import SignalProfile, SignalRequest
from distilnlp.tasks import profile_of
from distilnlp.teachers import as_teacher, has_untrained_head, in_label_order
from tests.conftest import tiny_data, tiny_student, tiny_teacher
from tests.tiny import FAMILIES, SHAPE, TOPICS, tiny_model, tiny_tokenizer

LOGITS = SignalRequest()
STATES = SignalRequest(hidden_states=frozenset({0, 1}))


def batch(length: int = 12) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    mask = (torch.arange(length) < torch.tensor([[length], [7], [4]])).long()
    input_ids = torch.randint(5, SHAPE["vocab_size"], (3, length), generator=generator) * mask
    segments = (torch.arange(length) >= 3).long() * mask
    return {
        "input_ids": input_ids,
        "attention_mask": mask,
        "token_type_ids": segments,
        "labels": torch.tensor([0, 1, 2]),
    }


def answers(model: PreTrainedModel) -> Tensor:
    """The logits of a model on the batch, asked directly."""
    understood = inspect.signature(type(model).forward).parameters.keys() - {"labels"}
    with torch.no_grad():
        return model(**{name: value for name, value in batch().items() if name in understood}).logits


# ---- Live teachers ----


@pytest.mark.parametrize("family", FAMILIES)
def test_a_live_teacher_gives_what_its_model_gives(family: str) -> None:
    model = tiny_teacher(family)
    signals = LiveTeacher(model)(batch(), STATES)
    assert torch.equal(signals.logits, answers(model))
    assert len(signals.hidden_states) == profile_of(model).num_hidden_states == 5
    assert signals.hidden_states[0].shape == (3, 12, profile_of(model).hidden_size)


def test_hidden_states_come_on_request_alone() -> None:
    assert LiveTeacher(tiny_teacher())(batch(), LOGITS).hidden_states is None


def test_a_live_teacher_is_frozen_and_in_eval_mode() -> None:
    model = tiny_teacher(hidden_dropout_prob=0.5).train()
    teacher = LiveTeacher(model)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    first = teacher(batch(), LOGITS).logits
    assert torch.equal(first, teacher(batch(), LOGITS).logits)


def test_answers_have_no_gradient_even_if_somebody_trains_the_model() -> None:
    model = tiny_teacher()
    teacher = LiveTeacher(model)
    model.requires_grad_(True)
    assert not teacher(batch(), LOGITS).logits.requires_grad


def test_dropout_stays_out_when_somebody_puts_the_model_in_train_mode() -> None:
    model = tiny_teacher(hidden_dropout_prob=0.5)
    teacher = LiveTeacher(model)
    expected = teacher(batch(), LOGITS).logits
    model.train()
    assert torch.equal(teacher(batch(), LOGITS).logits, expected)


def test_dropout_stays_out_when_a_shared_part_is_in_train_mode() -> None:
    model = tiny_teacher(hidden_dropout_prob=0.5)
    teacher = LiveTeacher(model)
    expected = teacher(batch(), LOGITS).logits
    model.bert.embeddings.train()  # as a student does that shares the teacher's embeddings
    assert torch.equal(teacher(batch(), LOGITS).logits, expected)


# ---- Dtypes ----


@pytest.mark.parametrize(
    ("asked", "fast", "expected"),
    [
        (None, True, torch.float32),
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
        ("bfloat16", False, torch.bfloat16),
        ("float64", True, torch.float64),
        (torch.float16, True, torch.float16),
    ],
)
def test_dtype(monkeypatch: pytest.MonkeyPatch, asked: Any, fast: bool, expected: torch.dtype) -> None:
    monkeypatch.setattr("distilnlp.teachers.live.bf16_is_fast", lambda: fast)
    model = tiny_teacher()
    assert LiveTeacher(model, asked)(batch(), LOGITS).logits.dtype == expected
    assert model.dtype == torch.float32


def test_auto_keeps_a_dtype_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilnlp.teachers.live.bf16_is_fast", lambda: True)
    assert LiveTeacher(tiny_teacher().half(), "auto")(batch(), LOGITS).logits.dtype == torch.float16


def test_casting_leaves_the_model_as_it_was() -> None:
    model = tiny_teacher()
    before = copy.deepcopy(model.state_dict())
    LiveTeacher(model, "bfloat16")(batch(), LOGITS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cast_teacher_is_the_model_that_loads_in_that_dtype(family: str, tmp_path: Path) -> None:
    model = tiny_teacher(family)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    cast = LiveTeacher(model, "bfloat16")
    assert torch.equal(cast(batch(), LOGITS).logits, answers(loaded))


@pytest.mark.parametrize("family", FAMILIES)
def test_casting_there_and_back_is_exact(family: str) -> None:
    model = tiny_teacher(family)
    wide = LiveTeacher(model, "float64")(batch(), LOGITS).logits
    assert torch.allclose(wide.float(), answers(model), atol=1e-5)


def test_the_dtype_holds_under_the_autocast_of_the_student() -> None:
    teacher = LiveTeacher(tiny_teacher(), "float32")
    expected = teacher(batch(), LOGITS).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(teacher(batch(), LOGITS).logits, expected)


@pytest.mark.parametrize("asked", [None, "float32", "float64"])
def test_a_teacher_that_a_trainer_just_trained_in_bf16(asked: str | None, tmp_path: Path) -> None:
    """Such a model carries a forward that runs under autocast; its answers must be those of the saved model."""
    model = tiny_teacher()
    plain = TrainingArguments(
        str(tmp_path), max_steps=1, bf16=True, use_cpu=True, save_strategy="no", disable_tqdm=True
    )
    Trainer(model, plain, train_dataset=tiny_data(), processing_class=tiny_tokenizer()).train()
    model.save_pretrained(tmp_path)
    expected = answers(AutoModelForSequenceClassification.from_pretrained(tmp_path))
    teacher = LiveTeacher(model, asked)
    assert "token_type_ids" in teacher.columns
    assert torch.allclose(teacher(batch(), LOGITS).logits.float(), expected, atol=1e-5)


# ---- Untrained heads ----


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_that_was_never_trained_is_refused(family: str) -> None:
    fresh = AutoModelForSequenceClassification.from_config(tiny_model(family).config)
    with pytest.raises(DistillationError, match="never trained"):
        LiveTeacher(fresh)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trained_head_is_accepted(family: str) -> None:
    model = AutoModelForSequenceClassification.from_config(tiny_model(family).config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(**{name: value for name, value in batch().items() if name != "token_type_ids"}).loss.backward()
    optimizer.step()
    assert not has_untrained_head(model)
    assert LiveTeacher(model)(batch(), LOGITS).logits.shape == (3, 3)


def test_a_head_without_bias_cannot_be_judged() -> None:
    model = tiny_teacher()
    model.classifier = nn.Linear(SHAPE["hidden_size"], 3, bias=False)
    assert not has_untrained_head(model)


# ---- Ensembles ----


def test_an_ensemble_is_the_log_of_the_mean_probability() -> None:
    models = [tiny_teacher(), tiny_teacher("distilbert", seed=1), tiny_teacher("roberta", seed=2)]
    ensemble = as_teacher(models, "float32")
    assert isinstance(ensemble, EnsembleTeacher)
    logits = ensemble(batch(), LOGITS).logits
    for row in range(3):
        for label in range(3):
            probabilities = [answers(model)[row].softmax(0)[label].item() for model in models]
            assert logits[row, label].item() == pytest.approx(math.log(sum(probabilities) / 3), abs=1e-5)


def test_an_ensemble_reads_what_any_of_its_teachers_reads() -> None:
    ensemble = as_teacher([tiny_teacher("distilbert"), tiny_teacher("bert")])
    assert "token_type_ids" in ensemble.columns
    assert ensemble.profile == SignalProfile(TOPICS, num_labels=3, task="single_label_classification")


def test_an_ensemble_joins_teachers_by_label_name() -> None:
    turned = ("sport", "film", "money")
    ensemble = as_teacher([tiny_teacher(), tiny_teacher(labels=turned, seed=5)], "float32")
    own, other = answers(tiny_teacher()).softmax(-1), answers(tiny_teacher(labels=turned, seed=5)).softmax(-1)
    expected = (own + other[:, [1, 2, 0]]) / 2
    assert ensemble.profile.label_names == TOPICS
    assert torch.allclose(ensemble(batch(), LOGITS).logits.exp(), expected, atol=1e-6)


def test_an_ensemble_with_two_label_orders_and_no_names_first_still_agrees_with_itself() -> None:
    """The first teacher names no labels: then the second and third, which do, must still be joined by name."""
    nameless = tiny_teacher(labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    one, other = tiny_teacher(seed=4), tiny_teacher(seed=5, labels=("sport", "film", "money"))
    ensemble = as_teacher([nameless, one, other], "float32")
    probabilities = [answers(nameless).softmax(-1), answers(one).softmax(-1), answers(other).softmax(-1)[:, [1, 2, 0]]]
    assert torch.allclose(ensemble(batch(), LOGITS).logits.exp(), sum(probabilities) / 3, atol=1e-6)


@pytest.mark.parametrize("labels", [("film", "money"), ("film", "money", "weather")])
def test_an_ensemble_of_different_tasks_is_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(DistillationError, match="the first teacher"):
        as_teacher([tiny_teacher(), tiny_teacher(labels=labels)])


def test_an_ensemble_of_a_classifier_and_a_multi_label_model_is_refused() -> None:
    multi_label = tiny_teacher(problem_type="multi_label_classification")
    message = "teacher is for multi_label_classification and the first teacher for single_label_classification"
    with pytest.raises(DistillationError, match=message):
        as_teacher([tiny_teacher(), multi_label])


def test_an_empty_ensemble_is_refused() -> None:
    with pytest.raises(DistillationError, match="empty"):
        as_teacher([])


# ---- Label order ----


def test_a_teacher_with_another_label_order_gives_permuted_logits() -> None:
    model = tiny_teacher(labels=("money", "sport", "film"))
    teacher = in_label_order(as_teacher(model, "float32"), profile_of(tiny_student()), "the student")
    assert teacher.profile.label_names == TOPICS
    assert torch.equal(teacher(batch(), STATES).logits, answers(model)[:, [2, 0, 1]])
    assert len(teacher(batch(), STATES).hidden_states) == 5


def test_the_same_order_needs_no_wrapper() -> None:
    teacher = as_teacher(tiny_teacher())
    assert in_label_order(teacher, profile_of(tiny_student()), "the student") is teacher


def test_placeholder_names_are_no_names() -> None:
    nameless = tiny_teacher(labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    teacher = as_teacher(nameless)
    assert teacher.profile.label_names is None
    assert in_label_order(teacher, profile_of(tiny_student()), "the student") is teacher


def test_other_label_names_are_refused_with_both_sides() -> None:
    teacher = as_teacher(tiny_teacher(labels=("film", "money", "weather")))
    with pytest.raises(
        DistillationError, match=r"only the teacher has \['weather'\] and only the student has \['sport'\]"
    ):
        in_label_order(teacher, profile_of(tiny_student()), "the student")


def test_another_number_of_labels_is_refused() -> None:
    teacher = as_teacher(tiny_teacher(labels=("LABEL_0", "LABEL_1")))
    with pytest.raises(DistillationError, match="teacher has 2 and the student 3"):
        in_label_order(teacher, profile_of(tiny_student()), "the student")


# ---- What may be a teacher ----


class Lookup:
    """A teacher that is no model."""

    columns = frozenset({"row"})
    profile = SignalProfile(None, num_labels=3)

    def to(self, device: torch.device) -> None:
        """Nothing to move."""

    def __call__(self, batch: Any, request: SignalRequest) -> Signals:
        return Signals(logits=torch.zeros(len(batch["row"]), 3))


def test_any_object_with_the_protocol_is_a_teacher() -> None:
    teacher = Lookup()
    assert isinstance(teacher, Teacher)
    assert as_teacher(teacher) is teacher


@pytest.mark.parametrize("wrong", ["bert-base-uncased", 5, nn.Linear(2, 3), lambda batch: batch, Lookup, None])
def test_anything_else_is_refused(wrong: Any) -> None:
    with pytest.raises(DistillationError, match="teacher_model must be a transformers model, a list of them"):
        as_teacher(wrong)
