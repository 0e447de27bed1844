"""Every family of which students are cut: depth, vocabulary, files, and one step of distillation against arithmetic."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, pipeline

from distilnlp import DistillationTrainer, DistillationTrainingArguments
from distilnlp.errors import DistillationError
from distilnlp.models.families import FAMILIES
from distilnlp.models.shapes import hidden_states_of
from distilnlp.students import build_student, estimate_cost, trim_vocabulary
from tests.test_students import cut_by_hand
from tests.tiny import TOPICS, tiny_model, tiny_tokenizer

TEXTS = ["the film plot", "a stock market rate", "the team goal goal score"]
every_family = pytest.mark.parametrize("family", FAMILIES)


def batch() -> dict[str, Tensor]:
    encoded = dict(tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt"))
    encoded.pop("token_type_ids")
    return encoded


def outputs_of(model: PreTrainedModel, inputs: dict[str, Tensor] | None = None) -> Any:
    with torch.no_grad():
        return model(**(batch() if inputs is None else inputs), output_hidden_states=True)


def assert_same(model: PreTrainedModel, reference: PreTrainedModel, atol: float = 1e-5) -> None:
    """Both give the same logits, and hidden states at real tokens."""
    own, other, mask = outputs_of(model), outputs_of(reference), batch()["attention_mask"].bool()
    torch.testing.assert_close(own.logits, other.logits, rtol=0, atol=atol)
    for one, two in zip(own.hidden_states, other.hidden_states, strict=True):
        torch.testing.assert_close(one[mask], two[mask], rtol=0, atol=atol)


def without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """The model with no dropout in train mode either."""
    outputs_of(model)  # BigBird makes its attention anew at the first short text
    for module in model.modules():
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
        if "Dropout" in type(module).__name__:
            module.p = 0.0
    return model


@every_family
def test_a_full_copy_is_the_teacher(family: str) -> None:
    teacher = tiny_model(family)
    assert_same(build_student(teacher, num_layers=4), teacher)
    assert hidden_states_of(teacher) == (5, outputs_of(teacher).hidden_states[0].shape[-1])


@every_family
def test_a_shallower_student_is_the_teacher_without_the_layers_between(family: str) -> None:
    teacher = tiny_model(family)
    student = build_student(teacher, num_layers=2)
    expected = copy.deepcopy(teacher)
    if FAMILIES[family].has_shared_layers:
        expected.config.num_hidden_layers = expected.base_model.encoder.config.num_hidden_layers = 2
    else:
        expected = cut_by_hand(expected, [0, 3])
        expected.config.num_hidden_layers = 2
    assert_same(student, expected)
    assert estimate_cost(student, teacher, length=16).total_parameters <= teacher.num_parameters()


def test_a_teacher_of_several_groups_of_shared_layers_is_refused() -> None:
    with pytest.raises(DistillationError, match="num_hidden_groups=2"):
        build_student(tiny_model("albert", num_hidden_groups=2), num_layers=2)


@every_family
def test_a_trimmed_student_gives_the_same_logits(family: str) -> None:
    teacher, tokenizer = tiny_model(family), tiny_tokenizer()
    trimmed, smaller = trim_vocabulary(teacher, tokenizer, TEXTS)
    assert trimmed.config.vocab_size == len(smaller) < len(tokenizer)
    encoded = dict(smaller(TEXTS, padding=True, return_tensors="pt"))
    encoded.pop("token_type_ids")
    torch.testing.assert_close(outputs_of(trimmed, encoded).logits, outputs_of(teacher).logits, rtol=0, atol=1e-6)


@every_family
def test_a_saved_student_is_served_by_a_pipeline(family: str, tmp_path: Path) -> None:
    student, tokenizer = build_student(tiny_model(family), num_layers=2), tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    student.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    served = pipeline("text-classification", model=str(tmp_path), top_k=None, device="cpu")
    for text, scores in zip(TEXTS, served(TEXTS), strict=True):
        encoded = dict(tokenizer(text, return_tensors="pt").items())
        expected = outputs_of(student, encoded).logits.softmax(-1)[0]
        found = [next(one["score"] for one in scores if one["label"] == name) for name in TOPICS]
        torch.testing.assert_close(torch.tensor(found), expected, rtol=0, atol=1e-5)


@every_family
def test_a_step_of_distillation_is_that_of_arithmetic(family: str, tmp_path: Path) -> None:
    """The gradients of labels, logits and hidden states of one step, in float64, with the formulas written down."""
    teacher = tiny_model(family).double()
    student = without_dropout(build_student(tiny_model(family, seed=1), num_layers=2).double())
    reference = copy.deepcopy(student)
    temperature, mapping = 3.0, [[1, 2], [2, 4]]
    arguments = DistillationTrainingArguments(
        output_dir=str(tmp_path),
        temperature=temperature,
        hard_loss_weight=0.5,
        soft_loss_weight=2.0,
        report_to="none",
        losses=[{"name": "hidden_state_mse", "weight": 0.25, "layer_mapping": mapping}],
        per_device_train_batch_size=len(TEXTS),
        use_cpu=True,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
    )
    labels = torch.tensor([0, 1, 2])
    trainer = DistillationTrainer(model=student, teacher_model=teacher, args=arguments)
    loss = trainer.compute_loss(student.train(), {**batch(), "labels": labels})
    loss.backward()

    own, target = reference(**batch(), output_hidden_states=True), teacher(**batch(), output_hidden_states=True)
    rows = []
    for row in range(len(TEXTS)):
        p = (target.logits[row] / temperature).softmax(-1)
        q = (own.logits[row] / temperature).softmax(-1)
        soft = temperature**2 * sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True))
        hard = -own.logits[row].softmax(-1)[labels[row]].log()
        rows.append(0.5 * hard + 2.0 * soft)
    mask = batch()["attention_mask"].bool()
    states = [
        (own.hidden_states[mine][mask] - target.hidden_states[theirs][mask]).square().mean() for mine, theirs in mapping
    ]
    expected = sum(rows) / len(rows) + 0.25 * sum(states) / len(states)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    for (name, parameter), other in zip(student.named_parameters(), reference.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(
                parameter.grad, other.grad, rtol=1e-6, atol=1e-9, msg=lambda said, of=name: of + said
            )
