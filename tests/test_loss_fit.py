"""Which loss fits which task and models: it trains, or it is refused by name before any training."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp import DistillationTrainer
from distilnlp.errors import DistillationError
from distilnlp.objective import LOSSES, Component
from distilnlp.tasks import TASKS
from tests.conftest import tiny_arguments
from tests.distributed_gradients import Recorder
from tests.tiny import LIKE_BERT as SAME_PARTS
from tests.tiny import tiny_model, tiny_tokenizer
from tests.tiny_tasks import task_data, task_model, task_rows, task_student, task_teacher
from tests.trainer_tools import Watcher, losses_logged

PROJECTIONS = "projections"
MORE_THAN_TWO_CLASSES = ("dkd", "dist", "standardized_kl")
RESPONSES = ("forward_kl", "reverse_kl", "jensen_shannon", "logit_mse", *MORE_THAN_TWO_CLASSES)
ON_STATES = [name for name in LOSSES if name not in RESPONSES]
# What each task refuses, from what the losses' papers compare.
REFUSED = {
    "multi_label_classification": MORE_THAN_TWO_CLASSES,
    "regression": [name for name in RESPONSES if name != "logit_mse"],
    "question_answering": ["dist"],
    "multiple_choice": ["dist"],
}
FITTING = [(task, loss) for task in TASKS for loss in LOSSES if loss not in REFUSED.get(task, ())]
UNFIT = [(task, loss) for task, losses in REFUSED.items() for loss in losses]
CAPTURED = ("bert", *SAME_PARTS, "electra", "mpnet", "distilbert", "deberta-v2", "modernbert")
PLAIN_SCORES = ("bert", *SAME_PARTS, "electra", "distilbert")


def trainer_of(
    folder: Path,
    losses: list[dict[str, Any]],
    task: str = "single_label_classification",
    student: PreTrainedModel | None = None,
    teacher: Any = None,
    **options: Any,
) -> DistillationTrainer:
    """A trainer with these losses alone, on eight rows a step, of which three have labels."""
    settings = {"max_steps": 1, "per_device_train_batch_size": 8, "hard_loss_weight": 0.0, "soft_loss_weight": 0.0}
    return DistillationTrainer(
        task_student(task) if student is None else student,
        task_teacher(task) if teacher is None else teacher,
        tiny_arguments(folder, losses=losses, **{**settings, **options}),
        train_dataset=task_data(task),
        processing_class=tiny_tokenizer(),
    )


def gradients_of(trainer: DistillationTrainer) -> dict[str, Tensor]:
    """Train, and return the gradients of the first step that are not all zero."""
    recorder = Recorder(trainer)
    trainer.train()
    gradients = {name: gradient for name, gradient in recorder.steps[0].items() if gradient is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    return {name: gradient for name, gradient in gradients.items() if gradient.abs().max() > 1e-7}


def assert_trains(trainer: DistillationTrainer, loss: str) -> None:
    """The loss is finite and its gradient reaches the student itself, not its projections alone."""
    reached = gradients_of(trainer)
    values = [entry[loss] for entry in losses_logged(trainer)]
    assert all(math.isfinite(value) and value > 1e-6 for value in values), values
    assert any(not name.startswith(PROJECTIONS) for name in reached)


# ---- Losses and tasks ----


def test_every_pair_of_task_and_loss_is_here() -> None:
    assert len(FITTING) + len(UNFIT) == len(TASKS) * len(LOSSES)


class Comparison:
    """Stands for a component, and computes its mean over the items that it counts itself beside what is asked."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self.values: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.component, name)

    def __call__(self, student: Any, teacher: Any, batch: Any, num_items: Any, temperature: float) -> Tensor:
        both = [self.component(student, teacher, batch, items, temperature) for items in (num_items, None)]
        self.values = [value.item() for value in both]
        return both[0]


def assert_is_the_mean(trainer: DistillationTrainer, loss: str) -> None:
    """The number of items that the trainer divides by is the number of those that the loss sums over."""
    comparison = Comparison(trainer.distillation_objective.components[0])
    trainer.distillation_objective.components[0] = comparison
    assert_trains(trainer, loss)
    value, mean = comparison.values
    assert value == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize(("task", "loss"), FITTING)
def test_a_loss_that_fits_trains_and_is_a_mean_over_its_items(tmp_path: Path, task: str, loss: str) -> None:
    assert_is_the_mean(trainer_of(tmp_path, [{"name": loss}], task), loss)


@pytest.mark.parametrize("loss", ["hard_loss", "soft_loss"])
@pytest.mark.parametrize("task", TASKS)
def test_hard_and_soft_loss_are_means_over_their_items(tmp_path: Path, task: str, loss: str) -> None:
    assert_is_the_mean(trainer_of(tmp_path, [], task, **{f"{loss}_weight": 1.0}), loss)


def assert_refused(folder: Path, task: str, loss: str, fitting: list[str], **models: PreTrainedModel) -> None:
    with pytest.raises(DistillationError, match=f"'{loss}'.*{task} do not fit") as caught:
        trainer_of(folder, [{"name": loss}], task, **models)
    told = str(caught.value).rsplit("fit here: ", 1)[1].rstrip(".").split(", ")
    assert sorted(told) == sorted(fitting)


@pytest.mark.parametrize(("task", "loss"), UNFIT)
def test_a_loss_that_does_not_fit_is_refused_with_those_that_do(tmp_path: Path, task: str, loss: str) -> None:
    assert_refused(tmp_path, task, loss, [name for name in RESPONSES if name not in REFUSED[task]])


@pytest.mark.parametrize("loss", MORE_THAN_TWO_CLASSES)
def test_two_classes_are_too_few_for_some_losses(tmp_path: Path, loss: str) -> None:
    task = "single_label_classification"
    models = {"student": task_student(task, labels=("no", "yes")), "teacher": task_teacher(task, labels=("no", "yes"))}
    fitting = [name for name in RESPONSES if name not in MORE_THAN_TWO_CLASSES]
    assert_refused(tmp_path, task, loss, fitting, **models)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "minilmv2", "query_weight": 0, "key_weight": 0, "value_weight": 0},
        {"name": "dkd", "target_weight": 0, "non_target_weight": 0},
        {"name": "dist", "inter_weight": 0, "intra_weight": 0},
    ],
)
def test_a_loss_without_weight_in_any_part_is_refused(tmp_path: Path, entry: dict[str, Any]) -> None:
    with pytest.raises(DistillationError, match=rf"losses\[0\]: every part of {entry['name']} has the weight 0"):
        trainer_of(tmp_path, [entry])


# ---- Layers ----


@pytest.mark.parametrize("loss", ["hidden_state_mse", "pkd", "attention_kl"])
@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ([[3, 1]], "student's index must be between 0 .* and 2 .* it is 3"),
        ([[1, 5]], "teacher's index must be between 0 .* and 4 .* it is 5"),
        ([[-1, 1]], "student's index .* it is -1"),
        ([[1, 2], [2]], r"losses\[0\]\.layer_mapping"),
        ([], "layer_mapping is empty"),
        ("lsat", "Did you mean 'last'"),
    ],
)
def test_layers_that_are_not_there_are_refused(tmp_path: Path, loss: str, mapping: Any, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        trainer_of(tmp_path, [{"name": loss, "layer_mapping": mapping}])


@pytest.mark.parametrize("loss", ["attention_mse", "attention_kl", "activation_boundary"])
@pytest.mark.parametrize("pair", [[0, 0], [0, 1], [1, 0]])
def test_the_embeddings_have_no_attention_and_no_neurons(tmp_path: Path, loss: str, pair: list[int]) -> None:
    with pytest.raises(DistillationError, match=rf"{loss}: layer_mapping pair .* names the embeddings"):
        trainer_of(tmp_path, [{"name": loss, "layer_mapping": [[1, 1], pair]}])


@pytest.mark.parametrize("loss", ["minilm", "minilmv2", "rkd_distance"])
@pytest.mark.parametrize(
    ("layer", "message"),
    [({"student_layer": 3}, "student's index"), ({"teacher_layer": 9}, "teacher's index"), ({"student_layer": 0}, "0")],
)
def test_a_relation_of_a_layer_that_is_not_there_is_refused(
    tmp_path: Path, loss: str, layer: dict[str, int], message: str
) -> None:
    with pytest.raises(DistillationError, match=message):
        trainer_of(tmp_path, [{"name": loss, **layer}])


@pytest.mark.parametrize("loss", [name for name in ON_STATES if "layer_mapping" in LOSSES[name].model_fields])
def test_a_student_may_be_deeper_than_its_teacher(tmp_path: Path, loss: str) -> None:
    task = "token_classification"
    student = task_student(task, num_hidden_layers=5)
    assert_trains(trainer_of(tmp_path, [{"name": loss, "layer_mapping": "last"}], task, student), loss)


# ---- Widths and heads ----


@pytest.mark.parametrize("loss", ["attention_mse", "attention_kl", "minilmv2"])
def test_numbers_of_heads_may_differ(tmp_path: Path, loss: str) -> None:
    student = task_student("question_answering", num_attention_heads=4)
    assert_trains(trainer_of(tmp_path, [{"name": loss}], "question_answering", student), loss)


def test_relation_heads_must_divide_both_widths(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"width 8 and the teacher's 16, but it is 3.*\[1, 2, 4, 8\]"):
        trainer_of(tmp_path, [{"name": "minilmv2", "num_relation_heads": 3}])


def test_the_teachers_own_heads_must_divide_the_students_width(tmp_path: Path) -> None:
    student = task_student("single_label_classification", hidden_size=6)
    teacher = task_teacher("single_label_classification", num_attention_heads=4)
    with pytest.raises(DistillationError, match=r"width 6 and the teacher's 16, but it is 4.*\[1, 2\]"):
        trainer_of(tmp_path, [{"name": "minilmv2"}], student=student, teacher=teacher)


def test_minilm_needs_equal_numbers_of_heads(tmp_path: Path) -> None:
    student = task_student("single_label_classification", num_attention_heads=4)
    with pytest.raises(DistillationError, match=r"student has 4 heads and the teacher 2.*minilmv2"):
        trainer_of(tmp_path, [{"name": "minilm"}], student=student)


# ---- Families ----


@pytest.mark.parametrize("family", [name for name in CAPTURED if name not in PLAIN_SCORES])
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_minilm_names_the_families_that_can(tmp_path: Path, family: str, side: str) -> None:
    model = task_model("single_label_classification", family)
    with pytest.raises(DistillationError, match=f"in '{family}' positions enter the scores") as caught:
        trainer_of(tmp_path, [{"name": "minilm"}], **{side: model})
    assert all(name in str(caught.value) for name in PLAIN_SCORES)
    assert "mpnet" not in str(caught.value).replace(f"'{family}'", "")


@pytest.mark.parametrize("loss", ["minilm", "minilmv2", "attention_mse", "activation_boundary"])
def test_an_unknown_family_is_refused_with_those_that_can(tmp_path: Path, loss: str) -> None:
    model = task_model("single_label_classification", "albert", embedding_size=16)
    with pytest.raises(DistillationError, match=r"bert.*got 'albert'"):
        trainer_of(tmp_path, [{"name": loss}], student=model)


@pytest.mark.parametrize("family", CAPTURED)
@pytest.mark.parametrize("loss", ["minilmv2", "attention_kl", "hidden_state_mse", "activation_boundary"])
def test_every_family_learns_from_a_bert_teacher(tmp_path: Path, family: str, loss: str) -> None:
    student = task_student("token_classification", family)
    options = {"max_steps": 6, "learning_rate": 1e-2, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    trainer = trainer_of(tmp_path, [{"name": loss}], "token_classification", student, **options)
    assert_trains(trainer, loss)
    values = [entry[loss] for entry in losses_logged(trainer)]
    assert values[-1] < 0.98 * values[0]


# ---- Teachers that give logits alone ----


@pytest.mark.parametrize("loss", ON_STATES)
def test_an_ensemble_has_no_states_to_learn_from(tmp_path: Path, loss: str) -> None:
    task = "single_label_classification"
    with pytest.raises(DistillationError, match=r"gives only logits .*ensemble"):
        trainer_of(tmp_path, [{"name": loss}], teacher=[task_teacher(task), task_teacher(task, seed=3)])


@pytest.mark.parametrize("loss", ON_STATES)
def test_a_model_without_states_of_each_token_is_refused(tmp_path: Path, loss: str) -> None:
    for role, models in (("teacher", {"teacher": tiny_model("t5")}), ("student", {"student": tiny_model("t5")})):
        with pytest.raises(DistillationError, match=rf"needs a {role} .*such as T5.*losses on logits"):
            trainer_of(tmp_path, [{"name": loss}], **models)


@pytest.mark.parametrize("loss", ["attention_kl", "minilm", "minilmv2", "activation_boundary"])
def test_a_model_without_attention_is_refused_by_name(tmp_path: Path, loss: str) -> None:
    with pytest.raises(DistillationError, match=r"captured from the families .*got 'fnet'. .*on hidden states"):
        trainer_of(tmp_path, [{"name": loss}], teacher=tiny_model("fnet"))


@pytest.mark.parametrize("architecture", ["bart", "longformer", "perceiver", "t5", "xlm", "xlnet"])
def test_an_architecture_of_its_own_teaches_by_its_logits(tmp_path: Path, architecture: str) -> None:
    assert_trains(trainer_of(tmp_path, [{"name": "logit_mse"}], teacher=tiny_model(architecture)), "logit_mse")


@pytest.mark.parametrize("task", TASKS)
def test_an_ensemble_teaches_by_its_logits(tmp_path: Path, task: str) -> None:
    teacher = [task_teacher(task), task_teacher(task, seed=3)]
    assert_trains(trainer_of(tmp_path, [{"name": "logit_mse"}], task, teacher=teacher), "logit_mse")


# ---- Eager attention ----


@pytest.mark.parametrize("loss", ["attention_mse", "attention_kl"])
def test_a_student_is_eager_for_its_maps_alone_and_says_so(
    tmp_path: Path, loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = "token_classification"
    student, teacher = task_student(task, attention_probs_dropout_prob=0.25), task_teacher(task)
    assert student.config._attn_implementation == teacher.config._attn_implementation == "sdpa"
    amid = Watcher("on_step_end", lambda model: model.config._attn_implementation)
    trainer = trainer_of(tmp_path, [{"name": loss}], task, student, teacher)
    trainer.add_callback(amid)
    with caplog.at_level(logging.INFO, logger="distilnlp"):
        assert_trains(trainer, loss)
    assert amid.seen == ["eager"]
    assert "attention is eager instead of sdpa" in caplog.text
    assert "no dropout (instead of p=0.25)" in caplog.text
    assert "the teacher uses eager attention" in caplog.text
    assert student.config._attn_implementation == "sdpa"
    assert [module.p for name, module in student.named_modules() if name.endswith("self.dropout")] == [0.25] * 2


def test_a_student_is_back_on_sdpa_after_a_failure(tmp_path: Path) -> None:
    def fail(_model: Any) -> None:
        raise KeyboardInterrupt

    trainer = trainer_of(tmp_path, [{"name": "attention_mse"}])
    trainer.add_callback(Watcher("on_step_end", fail))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.model.config._attn_implementation == "sdpa"


def test_without_a_loss_on_maps_nobody_is_eager(tmp_path: Path) -> None:
    teacher = task_teacher("single_label_classification")
    amid = Watcher("on_step_end", lambda model: model.config._attn_implementation)
    trainer = trainer_of(tmp_path, [{"name": "minilm"}, {"name": "hidden_state_mse"}], teacher=teacher)
    trainer.add_callback(amid)
    trainer.train()
    assert amid.seen == [teacher.config._attn_implementation] == ["sdpa"]


# ---- Choices are texts ----


def naive_relations(student: Any, teacher: Any, row: dict[str, Any]) -> dict[str, float]:
    """Both losses among the choices of one row, choice by choice without padding, in float64 and loops."""
    sides = []
    for model in (student, teacher):
        texts = []
        for choice in range(len(row["input_ids"])):
            names = ("input_ids", "attention_mask", "token_type_ids")
            inputs = {name: torch.tensor([[row[name][choice]]]) for name in names}
            with torch.no_grad():
                texts.append(model(**inputs, output_hidden_states=True).hidden_states[-1][0].mean(0).tolist())
        sides.append(texts)
    count = len(sides[0])
    distances, similar = [], []
    for texts in sides:
        apart = [[math.dist(a, b) for b in texts] for a in texts]
        mean = sum(map(sum, apart)) / (count * (count - 1))
        distances.append([[one / mean for one in line] for line in apart])
        products = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in texts] for a in texts]
        similar.append([[one / math.hypot(*line) for one in line] for line in products])
    pairs = [(i, k) for i in range(count) for k in range(count)]
    off = [abs(distances[0][i][k] - distances[1][i][k]) for i, k in pairs if i != k]
    return {
        "rkd_distance": sum(d * d / 2 if d < 1 else d - 0.5 for d in off) / len(off),
        "similarity_preserving": sum((similar[0][i][k] - similar[1][i][k]) ** 2 for i, k in pairs) / len(pairs),
    }


def test_one_row_of_choices_has_texts_to_relate(tmp_path: Path) -> None:
    student, teacher = task_student("multiple_choice").double(), task_teacher("multiple_choice").double()
    row = next(row for row in task_rows("multiple_choice", 8, 0) if len(row["input_ids"]) == 4)
    expected = naive_relations(student, teacher, row)
    losses = [{"name": name} for name in (*expected, "rkd_angle")]
    options = {"max_steps": 1, "per_device_train_batch_size": 1, "learning_rate": 0.0, "teacher_dtype": "float64"}
    trainer = DistillationTrainer(
        student,
        teacher,
        tiny_arguments(tmp_path, losses=losses, **options),
        train_dataset=Dataset.from_list([row]),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    logged = losses_logged(trainer)[0]
    assert {name: logged[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert logged["rkd_angle"] > 0


def test_two_choices_are_too_few_for_angles(tmp_path: Path) -> None:
    rows = [row for row in task_rows("multiple_choice", 12, 0) if len(row["input_ids"]) == 2]
    arguments = tiny_arguments(tmp_path, losses=[{"name": "rkd_angle"}], per_device_train_batch_size=1)
    with pytest.raises(DistillationError, match=r"at least 3, but .* is 1 and no row has more than 2 texts"):
        DistillationTrainer(
            task_student("multiple_choice"),
            task_teacher("multiple_choice"),
            arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tiny_tokenizer(),
        )
