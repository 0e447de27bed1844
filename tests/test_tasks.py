"""Every task: what it counts, and that its losses read what counts and nothing else."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BertModel, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.objective import HardLoss, SoftLoss
from distilnlp.recipe.sections import Recipe
from distilnlp.signals import SignalRequest, Signals
from distilnlp.tasks import TASKS, profile_of, task_named, task_of
from distilnlp.teachers import as_teacher
from distilnlp.validation import parse_section
from tests import naive_response as naive
from tests.tiny import SHAPE, TOPICS, tiny_model
from tests.tiny_tasks import (
    TAGS,
    collated,
    counting_items,
    counting_outputs,
    random_outputs,
    signals_of,
    task_model,
    task_rows,
    task_student,
    task_teacher,
)

Batch = dict[str, Tensor]
TEMPERATURE = 2.0
TOKENS = "token_classification"
FAMILIES = ("bert", "roberta", "xlm-roberta", "electra", "mpnet", "distilbert", "modernbert", "deberta-v2")
LABELS = {"label", "labels", "start_positions", "end_positions"}
every_task = pytest.mark.parametrize("task", TASKS)


def tokens_of(row: dict[str, Any]) -> int:
    return len(row["input_ids"])


def read(task: str, outputs: dict[str, Tensor], batch: Batch) -> Signals:
    return Signals(TASKS[task].read_logits(SimpleNamespace(**outputs), batch))


def loss_of(task: str, soft: bool, student: dict[str, Tensor], teacher: dict[str, Tensor], batch: Batch) -> Tensor:
    component = (SoftLoss if soft else HardLoss)(TASKS[task], 1.0)
    return component(read(task, student, batch), read(task, teacher, batch), batch, None, TEMPERATURE)


@every_task
def test_logits_are_read_from_the_outputs_that_they_are_written_as(task: str) -> None:
    batch = collated(task, task_rows(task))
    logits = read(task, random_outputs(task, batch, 0), batch).logits
    assert torch.equal(read(task, TASKS[task].as_outputs(logits), batch).logits, logits)


# ---- Counting ----


@every_task
@given(labelled=st.integers(1, 4), unlabelled=st.integers(0, 4), seed=st.integers(0, 2**16))
def test_items_are_counted_as_by_hand(task: str, labelled: int, unlabelled: int, seed: int) -> None:
    rows = task_rows(task, labelled, unlabelled, seed)
    batch = collated(task, rows)
    with_label = sum(sum(counting_items(task, row, soft=False)) for row in rows)
    valid = sum(sum(counting_items(task, row, soft=True)) for row in rows)
    if task == "multi_label_classification":
        valid //= len(TOPICS)  # a text counts once, as the mean over its labels
    assert with_label > 0
    assert HardLoss(TASKS[task], 1.0).count(batch).item() == with_label
    assert SoftLoss(TASKS[task], 1.0).count(batch).item() == valid


@every_task
def test_masks_have_the_shape_of_the_items(task: str) -> None:
    rows = task_rows(task)
    batch, entry = collated(task, rows), TASKS[task]
    logits = entry.item_logits(read(task, random_outputs(task, batch, 0), batch).logits)
    items = logits.shape[:-1]
    exists, labels = entry.class_mask(batch), entry.item_labels(batch)
    assert entry.valid_items(batch).shape == (items[:1] if task.startswith(("multi_label", "regression")) else items)
    assert entry.labelled_items(batch).shape == (items[:1] if task == "regression" else items)
    assert exists is None or exists.shape == logits.shape
    assert labels is None or labels.shape == items
    assert (labels is None) == (entry.answer != "categorical")
    assert (exists is None) == (task not in ("question_answering", "multiple_choice"))


def test_an_end_beyond_the_text_is_no_label() -> None:
    rows = task_rows("question_answering", 4, 0)
    batch = collated("question_answering", rows)
    length = batch["input_ids"].shape[1]
    short = min(range(4), key=lambda index: rows[index]["length"])
    batch["start_positions"][short] = rows[short]["length"]  # the first padding
    other = (short + 1) % 4
    batch["end_positions"][other] = length + 3
    labelled = TASKS["question_answering"].labelled_items(batch)
    expected = torch.ones(4, 2, dtype=torch.bool)
    expected[short, 0] = expected[other, 1] = False
    assert torch.equal(labelled, expected)
    student = random_outputs("question_answering", batch, 1)
    assert loss_of("question_answering", False, student, student, batch).isfinite()


def test_a_window_without_context_has_no_soft_loss() -> None:
    batch = collated("question_answering", task_rows("question_answering", 2, 0))
    batch["context_mask"][1] = 0
    assert TASKS["question_answering"].valid_items(batch).tolist() == [[True, True], [False, False]]
    student, teacher = (random_outputs("question_answering", batch, seed) for seed in (1, 2))
    alone = {name: value[:1] for name, value in batch.items()}
    value = loss_of("question_answering", True, student, teacher, batch)
    first = [{name: output[:1] for name, output in side.items()} for side in (student, teacher)]
    assert value.item() == pytest.approx(loss_of("question_answering", True, *first, alone).item(), rel=1e-12)


def test_rows_without_word_starts_count_labelled_pieces_or_every_token() -> None:
    rows = [{key: value for key, value in row.items() if key != "word_starts"} for row in task_rows(TOKENS, 1, 1)]
    batch = collated(TOKENS, rows)
    valid = TASKS[TOKENS].valid_items(batch)
    assert valid[0].tolist() == (batch["labels"][0] != -100).tolist()
    assert valid[1].tolist() == batch["attention_mask"][1].bool().tolist()


@every_task
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_what_does_not_count_reaches_neither_loss_nor_gradient(task: str, soft: bool) -> None:
    rows = task_rows(task)
    batch = collated(task, rows)
    student, teacher = random_outputs(task, batch, 1), random_outputs(task, batch, 2)
    counts = counting_outputs(task, rows, student, soft)
    results = []
    for rubbish in (None, 1e4, math.inf, math.nan):
        own, other = (
            {name: value if rubbish is None else value.where(counts[name], rubbish) for name, value in side.items()}
            for side in (student, teacher)
        )
        own = {name: value.clone().requires_grad_() for name, value in own.items()}
        value = loss_of(task, soft, own, other, batch)
        value.backward()
        results.append((value.item(), {name: output.grad for name, output in own.items()}))
    expected, gradients = results[0]
    assert expected > 1e-3
    for value, others in results:
        assert value == pytest.approx(expected, rel=1e-12)
        for name, gradient in others.items():
            assert (gradient[~counts[name]] == 0).all()
            torch.testing.assert_close(gradient, gradients[name], rtol=0, atol=1e-12)
            assert gradient[counts[name]].abs().max() > 1e-3


# ---- Values ----


@every_task
def test_the_hard_loss_of_labelled_rows_is_the_models_own(task: str) -> None:
    rows, shape = task_rows(task, 40, 0), tokens_of
    same_shape = [row for row in rows if shape(row) == shape(rows[2])]  # models count padding, as position or choice
    if task == "multi_label_classification":
        same_shape = [row for row in same_shape if not any(math.isnan(value) for value in row["label"])]
    assert len(same_shape) > 1
    batch = collated(task, same_shape)
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    model = task_model(task).double()
    inputs = {name: value for name, value in batch.items() if name not in ("length", "word_starts", "context_mask")}
    inputs.pop("choice_mask", None)
    expected = model(**inputs).loss
    value = HardLoss(TASKS[task], 1.0)(signals_of(model, task, batch), None, batch, None, 1.0)
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)
    assert value > 1e-2


def naive_soft_loss(task: str, own: Tensor, other: Tensor, batch: Batch) -> float:
    """Mean over the items that count, one after the other."""
    entry, values = TASKS[task], []
    if task == "regression":
        return naive.mean([(a - b) ** 2 for a, b in zip(own.flatten().tolist(), other.flatten().tolist(), strict=True)])
    if task == "multi_label_classification":
        pairs = zip(own.flatten().tolist(), other.flatten().tolist(), strict=True)
        return naive.mean([naive.forward_kl([a, 0.0], [b, 0.0], TEMPERATURE) for a, b in pairs])
    exists = entry.class_mask(batch)
    exists = torch.ones_like(own, dtype=torch.bool) if exists is None else exists
    for index in entry.valid_items(batch).nonzero().tolist():
        place = tuple(index)
        a, b = (side[place][exists[place]].tolist() for side in (own, other))
        values.append(naive.forward_kl(a, b, TEMPERATURE))
    return naive.mean(values)


@every_task
def test_the_soft_loss_is_the_naive_one(task: str) -> None:
    batch = collated(task, task_rows(task))
    own, other = (signals_of(model.double(), task, batch) for model in (task_student(task), task_teacher(task)))
    value = SoftLoss(TASKS[task], 1.0)(own, other, batch, None, TEMPERATURE)
    assert value.item() == pytest.approx(naive_soft_loss(task, own.logits, other.logits, batch), rel=1e-10)
    assert value > 1e-3


@pytest.mark.parametrize("task", [task for task in TASKS if task != "regression"])
def test_an_ensemble_answers_with_the_mean_of_the_probabilities(task: str) -> None:
    batch, entry = collated(task, task_rows(task)), TASKS[task]
    models = [task_teacher(task, seed=seed).double() for seed in (3, 4, 5)]
    answers = [signals_of(model, task, batch).logits for model in models]
    mean = as_teacher(models)(batch, SignalRequest()).logits
    exists = entry.class_mask(batch)
    items = [entry.item_logits(logits) for logits in (mean, *answers)]
    for index in entry.valid_items(batch).nonzero().tolist():
        place = tuple(index)
        classes = [item[place] if exists is None else item[place][exists[place]] for item in items]
        got, *members = [logits.softmax(dim=-1) for logits in classes]
        torch.testing.assert_close(got, sum(members) / 3, rtol=0, atol=1e-12)


def test_an_ensemble_of_scores_answers_with_their_mean() -> None:
    batch = collated("regression", task_rows("regression"))
    models = [task_teacher("regression", seed=seed).double() for seed in (3, 4)]
    one, other = (signals_of(model, "regression", batch).logits for model in models)
    torch.testing.assert_close(as_teacher(models)(batch, SignalRequest()).logits, (one + other) / 2)


# ---- Padding ----


def padded_further(batch: Batch, tokens: int, choices: int) -> Batch:
    """Pads tokens further, and choices, with what the collators pad with."""
    result = {}
    for name, value in batch.items():
        by_token = name in ("input_ids", "attention_mask", "token_type_ids", "word_starts", "context_mask")
        by_token = by_token or (name == "labels" and value.shape == batch["input_ids"].shape)
        if by_token:
            value = nn.functional.pad(value, (0, tokens), value=-100 if name == "labels" else 0)
        if name == "choice_mask":
            value = nn.functional.pad(value, (0, choices), value=False)
        elif value.dim() == 3:
            value = nn.functional.pad(value, (0, 0, 0, choices))
        result[name] = value
    return result


def losses_and_gradients(task: str, batches: list[Batch], counts: list[int]) -> tuple[list[float], Batch]:
    """Hard and soft loss summed over batches that share the counts, and the gradient of both."""
    student, teacher = task_student(task).double(), task_teacher(task).double()
    sums = [torch.zeros((), dtype=torch.float64)] * 2
    for batch in batches:
        own, other = signals_of(student, task, batch), signals_of(teacher, task, batch)
        components = HardLoss(TASKS[task], 1.0), SoftLoss(TASKS[task], 1.0)
        values = [
            component(own, other, batch, count, TEMPERATURE)
            for component, count in zip(components, counts, strict=True)
        ]
        sums = [total + value for total, value in zip(sums, values, strict=True)]
    sum(sums).backward()
    gradients = {name: weight.grad for name, weight in student.named_parameters() if weight.grad is not None}
    return [value.item() for value in sums], gradients


@every_task
@pytest.mark.parametrize("how", ["more padding", "row by row"])
def test_padding_changes_nothing(task: str, how: str) -> None:
    rows = task_rows(task)
    batch = collated(task, rows)
    counts = [int(component(TASKS[task], 1.0).count(batch)) for component in (HardLoss, SoftLoss)]
    other = [padded_further(batch, 7, 2)] if how == "more padding" else [collated(task, [row]) for row in rows]
    expected, gradients = losses_and_gradients(task, [batch], counts)
    values, others = losses_and_gradients(task, other, counts)
    assert values == pytest.approx(expected, rel=1e-10)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=0, atol=1e-10)
    assert max(gradient.abs().max().item() for gradient in gradients.values()) > 1e-2


# ---- No label at all ----


@every_task
@pytest.mark.parametrize("how", ["unlabelled rows", "no label columns"])
def test_without_any_label_the_hard_loss_is_zero_and_keeps_its_graph(task: str, how: str) -> None:
    batch = collated(task, task_rows(task, 0, 3))
    if how == "no label columns":
        batch = {name: value for name, value in batch.items() if name not in LABELS}
    student = task_student(task)
    hard_loss = HardLoss(TASKS[task], 1.0)
    value = hard_loss(signals_of(student, task, batch), None, batch, None, 1.0)
    value.backward()
    assert hard_loss.count(batch).item() == 0
    assert value.item() == 0
    gradients = [weight.grad for weight in student.parameters() if weight.grad is not None]
    assert gradients
    assert all((gradient == 0).all() for gradient in gradients)


@every_task
def test_without_any_label_the_soft_loss_stays(task: str) -> None:
    batch = collated(task, task_rows(task, 0, 3))
    batch = {name: value for name, value in batch.items() if name not in LABELS}
    own, other = (signals_of(model, task, batch) for model in (task_student(task), task_teacher(task)))
    value = SoftLoss(TASKS[task], 1.0)(own, other, batch, None, TEMPERATURE)
    assert value.requires_grad
    assert (value > 1e-3) == (task != "masked_lm"), "without labels no token is masked"


# ---- Which task a model is for ----


@every_task
@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_tells_its_task(task: str, family: str) -> None:
    model = task_model(task, family)
    profile = profile_of(model)
    assert task_of(model) is TASKS[task]
    names = {"token_classification": TAGS}.get(task, TOPICS if task.endswith("label_classification") else None)
    assert profile.label_names == names
    fixed = {"question_answering": 2, "multiple_choice": 0, "masked_lm": SHAPE["vocab_size"], "regression": 1}
    assert profile.num_labels == fixed.get(task, len(names or ()))
    assert (profile.hidden_size, profile.num_heads, profile.num_hidden_states) == (16, 2, 5)
    assert profile.model_type == family


def classifier(labels: int, problem_type: str | None) -> PreTrainedModel:
    model = tiny_model(labels=tuple(map(str, range(labels))))
    model.config.problem_type = problem_type
    return model


@pytest.mark.parametrize(
    ("labels", "problem_type", "task"),
    [
        (3, None, "single_label_classification"),
        (1, None, "regression"),
        (1, "multi_label_classification", "multi_label_classification"),
    ],
)
def test_a_config_without_problem_type_tells_by_its_labels(labels: int, problem_type: str | None, task: str) -> None:
    assert task_of(classifier(labels, problem_type)).name == task


def with_labels(task: str, labels: int) -> PreTrainedModel:
    model = task_model(task)
    model.config.num_labels = labels
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: classifier(1, "single_label_classification"),
        lambda: classifier(3, "regression"),
        lambda: with_labels("token_classification", 1),
        lambda: with_labels("question_answering", 3),
        lambda: BertModel(tiny_model().config),
        lambda: AutoModelForCausalLM.from_config(tiny_model().config),
        lambda: nn.Linear(2, 2),
    ],
    ids=["one class", "three scores", "one tag", "three ends", "no head", "causal", "no transformers model"],
)
def test_a_head_without_a_task_is_refused(make: Callable[[], Any]) -> None:
    model = make()
    with pytest.raises(DistillationError, match=rf"the tasks .*masked_lm.* this model is a {type(model).__name__}"):
        task_of(model)


def test_an_unknown_task_is_refused_with_a_hint() -> None:
    with pytest.raises(DistillationError, match="Did you mean 'regression'"):
        task_named("regresion")


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("ner", "token_classification"),
        ("NER", "token_classification"),
        ("Token-Classification", "token_classification"),
        ("qa", "question_answering"),
        ("question answering", "question_answering"),
        ("multi-label", "multi_label_classification"),
        ("multilabel", "multi_label_classification"),
        ("mlm", "masked_lm"),
        ("fill-mask", "masked_lm"),
        ("classification", "single_label_classification"),
        ("multiple-choice", "multiple_choice"),
        ("sts", "regression"),
    ],
)
def test_a_task_has_short_names(short: str, name: str) -> None:
    assert task_named(short).name == name
    values = {"output": "o", "teacher": {"model": "t"}, "data": {"source": "d.csv"}, "task": short}
    assert parse_section(Recipe, values).task == name


def test_an_unknown_task_is_refused_with_the_near_one() -> None:
    with pytest.raises(DistillationError, match=r"no task 'nerr'\. Did you mean 'ner'\? The tasks are .*short names"):
        task_named("nerr")
