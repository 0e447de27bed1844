"""Labels by name wherever rows come in, and what the trainer refuses."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from torch import nn
from transformers import (
    BertModel,
    Trainer,
    TrainingArguments,
)

from distilnlp import DistillationTrainer, LiveTeacher
from distilnlp.errors import DistillationError
from tests.conftest import tiny_arguments, tiny_data, tiny_student, tiny_teacher, tokenised
from tests.tiny import TOPICS, tiny_rows, tiny_tokenizer
from tests.trainer_tools import (
    FEATURES,
    STILL,
    MakeTrainer,
    RecordingTeacher,
    assert_no_projections,
    losses_logged,
    naive_hard_loss,
)

# ---- Labels ----

TURNED = ("sport", "film", "money")


def turned(rows: Dataset) -> Dataset:
    """The same rows with other ids: their class label has another order of names."""
    ids = [None if label is None else TURNED.index(TOPICS[label]) for label in rows["label"]]
    features = Features({**rows.features, "label": ClassLabel(names=list(TURNED))})
    return Dataset.from_dict({**rows.to_dict(), "label": ids}, features=features)


def label_ids(rows: Dataset) -> list[int]:
    """The labels of rows, in either way to say that there is none."""
    return [-100 if label is None else label for label in rows.with_format(None)["label"]]


@pytest.mark.parametrize("row_format", [None, "torch", "numpy"])
def test_labels_in_another_order_are_renumbered(make_trainer: MakeTrainer, row_format: str | None) -> None:
    rows = tiny_data(5, unlabelled=2 if row_format is None else 0)
    given = turned(rows).with_format(row_format)
    trainer = make_trainer(train_dataset=given, eval_dataset=given)
    assert label_ids(trainer.train_dataset) == label_ids(trainer.eval_dataset) == label_ids(rows) != label_ids(given)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_labels_are_renumbered_wherever_rows_come_in(make_trainer: MakeTrainer, method: str) -> None:
    student, rows = tiny_student(), tiny_data(5)
    trainer = make_trainer(student)
    output = getattr(trainer, method)(turned(rows))
    loss = output["eval_loss"] if method == "evaluate" else output.metrics["test_loss"]
    assert loss == pytest.approx(naive_hard_loss(student, list(rows)), rel=1e-5)


def test_a_student_without_label_names_is_no_reason_to_mix_up_data_and_teacher(make_trainer: MakeTrainer) -> None:
    """The data and the teacher name their labels in two orders; the student, made by hand, names none."""
    nameless = tiny_student(labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    rows = tiny_data(6)
    recorder = RecordingTeacher()
    trainer = make_trainer(nameless, recorder, turned(rows), max_steps=1, per_device_train_batch_size=6, **STILL)
    trainer.train()
    names_of_classes = trainer.teacher.profile.label_names
    labels = recorder.batches[0]["labels"].tolist()
    assert [names_of_classes[label] for label in labels] == [TOPICS[label] for label in rows["label"]]


@pytest.mark.parametrize("split", ["train", "eval"])
def test_data_with_other_label_names_is_refused(make_trainer: MakeTrainer, split: str) -> None:
    features = Features({**tiny_rows().features, "label": ClassLabel(names=["film", "money", "weather"])})
    rows = tokenised(Dataset.from_dict(tiny_rows(6).to_dict(), features=features))
    with pytest.raises(
        DistillationError, match=rf"only the {split}\w+ data has \['weather'\].*student has \['sport'\]"
    ):
        make_trainer(**{f"{split}_dataset": rows})


@pytest.mark.parametrize("label", [3, -1, -2, 1.5])
def test_label_ids_out_of_range_are_refused(make_trainer: MakeTrainer, label: Any) -> None:
    rows = tiny_data(4).remove_columns("label").add_column("label", [0, 1, 2, label])
    with pytest.raises(DistillationError, match=f"from 0 to 2.*{label}"):
        make_trainer(train_dataset=rows)


@pytest.mark.parametrize(
    "labels", [["film", "money", "sport", "film"], [[0, 1], [1], [2], [0]]], ids=["names", "lists"]
)
def test_labels_that_are_no_ids_are_refused(make_trainer: MakeTrainer, labels: list[Any]) -> None:
    rows = tiny_data(4).remove_columns("label").add_column("label", labels)
    with pytest.raises(DistillationError, match=r"class ids from 0 to 2"):
        make_trainer(train_dataset=rows)


@pytest.mark.parametrize("as_list", [False, True], ids=["data set", "list"])
def test_a_row_may_say_that_it_has_no_label(make_trainer: MakeTrainer, as_list: bool) -> None:
    rows = (
        tiny_data(4).remove_columns(["label", "text"]).add_column("label", [0, -100, None, 2], feature=Value("int64"))
    )
    trainer = make_trainer(None, None, list(rows) if as_list else rows, max_steps=1, **STILL)
    trainer.train()
    labelled = [row for row in rows if row["label"] not in (None, -100)]
    assert losses_logged(trainer)[0]["hard_loss"] == pytest.approx(naive_hard_loss(tiny_student(), labelled), rel=1e-4)


@pytest.mark.parametrize("labels", [[None, 1, 2, 0], [0, None, 2, 1]], ids=["first", "second"])
def test_rows_that_need_no_tokenizer_may_lack_a_label_too(tmp_path: Path, labels: list[int | None]) -> None:
    """Rows of one length go without a processing class; an unlabelled row must not cost the others their labels."""
    rows = tokenised(Dataset.from_dict({"text": ["the film", "a bank", "goal team", "plot cast"]}))
    rows = rows.add_column("label", labels, feature=Value("int64"))
    student = tiny_student()
    arguments = tiny_arguments(tmp_path, max_steps=1, **STILL)
    trainer = DistillationTrainer(student, tiny_teacher(), arguments, train_dataset=rows)
    trainer.train()
    assert losses_logged(trainer)[0]["hard_loss"] == pytest.approx(naive_hard_loss(student, list(rows)), rel=1e-4)


# ---- Refusals ----


def test_a_student_that_is_its_own_teacher_is_refused(make_trainer: MakeTrainer) -> None:
    model = tiny_teacher()
    with pytest.raises(DistillationError, match="one and the same"):
        make_trainer(model, model)
    with pytest.raises(DistillationError, match="one and the same"):
        make_trainer(model, [tiny_teacher(seed=4), model])


def test_a_missing_teacher_is_refused(tmp_path: Path) -> None:
    for options in ({}, {"soft_loss_weight": 0.0, "losses": FEATURES}):
        with pytest.raises(DistillationError, match="teacher_model is missing"):
            DistillationTrainer(tiny_student(), None, tiny_arguments(tmp_path, **options), train_dataset=tiny_data())


def test_plain_training_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="they are TrainingArguments"):
        DistillationTrainer(tiny_student(), tiny_teacher(), TrainingArguments(str(tmp_path)))


def test_a_loss_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="compute_loss_func"):
        DistillationTrainer(tiny_student(), tiny_teacher(), tiny_arguments(tmp_path), compute_loss_func=print)


def test_a_teacher_of_the_wrong_kind_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(DistillationError, match="str: 'bert-base-uncased'"):
        make_trainer(teacher="bert-base-uncased")


def test_a_teacher_with_other_labels_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(DistillationError, match="weather"):
        make_trainer(teacher=tiny_teacher(labels=("film", "money", "weather")))


def test_a_layer_out_of_range_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(DistillationError, match="teacher's index must be between 0"):
        make_trainer(losses=[{"name": "hidden_state_mse", "layer_mapping": [[1, 9]]}])


@pytest.mark.parametrize("losses", [FEATURES[:1]])
def test_a_feature_loss_from_an_ensemble_is_refused(make_trainer: MakeTrainer, losses: list[dict[str, Any]]) -> None:
    with pytest.raises(DistillationError, match="ensemble"):
        make_trainer(teacher=[tiny_teacher(), tiny_teacher(seed=4)], losses=losses)


def test_a_student_of_another_task_is_refused(make_trainer: MakeTrainer) -> None:
    regression, multi_label = tiny_student(labels=("score",)), tiny_student()
    multi_label.config.problem_type = "multi_label_classification"
    for student in (regression, multi_label):
        with pytest.raises(DistillationError, match="is for single_label_classification and the student for"):
            make_trainer(student)


def test_a_student_of_no_task_is_refused(make_trainer: MakeTrainer) -> None:
    three_scores = tiny_student()
    three_scores.config.problem_type = "regression"
    with pytest.raises(DistillationError, match="tasks that can be distilled"):
        make_trainer(three_scores)


@pytest.mark.parametrize("student", [nn.Linear(2, 3), BertModel(tiny_student().config)], ids=["module", "no head"])
def test_a_student_without_a_head_is_refused(make_trainer: MakeTrainer, student: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"tasks that can be distilled|cannot be used as is for training"):
        make_trainer(student)


def test_a_plain_trainer_still_takes_the_student(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Distilling leaves nothing behind on the student that another trainer would trip over."""
    trainer = make_trainer(losses=FEATURES)
    trainer.train()
    plain = TrainingArguments(
        str(tmp_path), max_steps=1, use_cpu=True, save_strategy="steps", save_steps=1, disable_tqdm=True
    )
    Trainer(trainer.model, plain, train_dataset=tiny_data(), processing_class=tiny_tokenizer()).train()
    assert json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())["global_step"] == 1
    assert_no_projections(tmp_path / "checkpoint-1", trainer.model)


def test_a_stream_with_labels_in_another_order_is_renumbered(make_trainer: MakeTrainer) -> None:
    rows = tiny_data(5)
    trainer = make_trainer(train_dataset=turned(rows).to_iterable_dataset(), max_steps=1)
    assert [row["label"] for row in trainer.train_dataset] == label_ids(rows)


def test_an_optimizer_that_would_miss_the_projections_is_refused(tmp_path: Path) -> None:
    student = tiny_student()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    arguments = tiny_arguments(tmp_path, losses=FEATURES)
    with pytest.raises(DistillationError, match="optimizers cannot be honoured"):
        DistillationTrainer(student, tiny_teacher(), arguments, optimizers=(optimizer, None))
    assert DistillationTrainer(student, tiny_teacher(), tiny_arguments(tmp_path), optimizers=(optimizer, None))


# ---- Rows that were not made for the models ----


@pytest.mark.parametrize("kind", ["rows", "stream"])
@pytest.mark.parametrize("split", ["train_dataset", "eval_dataset"])
def test_text_that_was_not_tokenised_is_refused_with_the_way(make_trainer: MakeTrainer, kind: str, split: str) -> None:
    texts = tiny_rows(4).rename_column("text", "review")  # of another name than those that are tokenised
    rows = texts if kind == "rows" else texts.to_iterable_dataset()
    message = (
        r"must be tokenised, but has no column 'input_ids', only \['review', 'label'\].*data\.map\(lambda rows: token"
    )
    with pytest.raises(DistillationError, match=message):
        make_trainer(**{split: rows})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the training data must hold rows, but it has none"),
        (tiny_data(4).select([]), "the training data must hold rows, but it has none"),
        (["a film", "a match"], r"must be tokenised, but has no column 'input_ids', only \[\]"),
        ([{"text": "a film"}], r"must be tokenised, but has no column 'input_ids', only \['text'\]"),
        (Dataset.from_dict({"input_ids": [["a", "film"]], "label": [0]}), r"'input_ids' .* ids .*string.*anew"),
        (Dataset.from_dict({"input_ids": [[1.0, 2.0]], "label": [0]}), r"'input_ids' .* ids .*float.*anew"),
        (Dataset.from_dict({"input_ids": [7], "label": [0]}), r"'input_ids' .* ids .*int.*anew"),
        (Dataset.from_dict({"input_ids": ["a film"], "label": [0]}), r"'input_ids' .* ids .*string.*anew"),
    ],
)
def test_rows_without_ids_are_refused_before_training(make_trainer: MakeTrainer, rows: Any, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        make_trainer(train_dataset=rows)


def test_a_list_of_tokenised_rows_is_fine(make_trainer: MakeTrainer) -> None:
    make_trainer(train_dataset=list(tiny_data(4)), max_steps=1).train()


def test_a_student_that_is_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"the student, must be a transformers model, but it is str: 'my-stud"):
        DistillationTrainer("my-student", tiny_teacher(), tiny_arguments(tmp_path))  # type: ignore[arg-type]


def test_rows_that_are_tokenised_when_they_are_read_are_fine(make_trainer: MakeTrainer) -> None:
    rows = tiny_rows(8)
    rows.set_transform(lambda batch: {**tiny_tokenizer()(batch["text"]), "label": batch["label"]})
    make_trainer(train_dataset=rows, remove_unused_columns=False).train()
    pad = make_trainer().data_collator

    def tokenise(rows: list[dict[str, Any]]) -> Any:
        return pad([{**tiny_tokenizer()(row["text"]), "label": row["label"]} for row in rows])

    make_trainer(train_dataset=tiny_rows(8), data_collator=tokenise, remove_unused_columns=False).train()


def changed(rows: Dataset, column: str, value: int) -> Dataset:
    """The same rows, the last of which has another id in a column."""
    first = {"input_ids": lambda row: [value, *row["input_ids"][1:]], "label": lambda row: value}[column]
    last = len(rows) - 1
    plain = rows.cast_column("label", Value("int64"))
    return plain.map(lambda row, index: {column: first(row)} if index == last else {}, with_indices=True)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("input_ids", 24, r"input_ids must hold ids from 0 to 23, because the model has 24, but {} holds \[24\]"),
        ("input_ids", -1, r"input_ids must hold ids from 0 to 23, .* but {} holds \[-1\]"),
        ("label", 3, r"labels must hold ids from 0 to 2, or -100 for none, .* but {} holds \[3\]"),
    ],
)
def test_ids_that_the_models_do_not_know_are_refused(
    make_trainer: MakeTrainer, column: str, value: int, message: str
) -> None:
    rows = changed(tiny_data(8), column, value)
    if column == "input_ids":
        with pytest.raises(DistillationError, match=message.format("the training data")):
            make_trainer(train_dataset=rows)
    with pytest.raises(DistillationError, match=message.format("a batch")):
        make_trainer(train_dataset=rows.to_iterable_dataset(), max_steps=2).train()


def test_the_smaller_of_two_vocabularies_is_the_limit(make_trainer: MakeTrainer) -> None:
    student = tiny_student(vocab_size=200)
    teacher = tiny_teacher(vocab_size=199)
    make_trainer(student, teacher, changed(tiny_data(4), "input_ids", 198))
    with pytest.raises(DistillationError, match="ids from 0 to 198"):
        make_trainer(student, teacher, changed(tiny_data(4), "input_ids", 199))


# ---- Models that do not fit together ----


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("given", ["model", "list", "teacher", "student"])
def test_weights_that_are_not_finite_are_refused_before_the_first_step(
    make_trainer: MakeTrainer, given: str, value: float
) -> None:
    broken = tiny_teacher()
    with torch.no_grad():
        broken.bert.encoder.layer[1].output.dense.weight[0, 0] = value
    owner = "student" if given == "student" else "teacher"
    given_as = {"model": broken, "list": [tiny_teacher(), broken], "teacher": LiveTeacher(broken)}
    models = (broken, tiny_teacher()) if given == "student" else (None, given_as[given])
    with pytest.raises(DistillationError, match=rf"the {owner}'s weights must be finite, but .*layer\.1\.output"):
        make_trainer(*models)


@pytest.mark.parametrize("how", ["module", "memory"])
@pytest.mark.parametrize("given", ["model", "list", "teacher"])
def test_a_student_that_shares_weights_with_its_teacher_is_refused(
    make_trainer: MakeTrainer, how: str, given: str
) -> None:
    student, teacher = tiny_student(hidden_size=16), tiny_teacher()
    if how == "module":
        student.bert.embeddings = teacher.bert.embeddings
    else:
        student.classifier.weight.data = teacher.classifier.weight.data
    teachers = {
        "model": lambda: teacher,
        "list": lambda: [tiny_teacher(), teacher],
        "teacher": lambda: LiveTeacher(teacher),
    }
    given_as = teachers[given]()
    with pytest.raises(DistillationError, match=r"the student shares \d+ of its weights with the teacher \("):
        make_trainer(student, given_as)
    assert all(parameter.requires_grad for parameter in student.parameters()) or given == "teacher"


def test_tokenizers_of_one_size_with_other_special_ids_are_refused(make_trainer: MakeTrainer) -> None:
    teacher = tiny_teacher("modernbert")  # its config names its first token, and so does the student's tokenizer
    make_trainer(None, teacher)
    teacher.config.cls_token_id = 1
    for student, other, named in ((None, teacher, "cls"), (tiny_student(pad_token_id=3), tiny_teacher(), "pad")):
        message = rf"the student's {named}_token_id is \d and the teacher's \d, so the same ids mean other tokens"
        with pytest.raises(DistillationError, match=message):
            make_trainer(student, other)
        with pytest.raises(DistillationError, match=message):
            make_trainer(student, [tiny_teacher(), other])


# ---- Resuming ----


@pytest.mark.parametrize(
    ("absent", "part"), [("optimizer.pt", "optimizer"), ("scheduler.pt", "learning rate schedule")]
)
def test_a_checkpoint_without_the_optimizers_state_is_refused(
    make_trainer: MakeTrainer, tmp_path: Path, absent: str, part: str
) -> None:
    make_trainer(save_strategy="steps", save_steps=1, max_steps=1).train()
    checkpoint = tmp_path / "checkpoint-1"
    (checkpoint / absent).unlink()
    with pytest.raises(DistillationError, match=f"checkpoint-1 has no {part}, as save_only_model"):
        make_trainer(max_steps=2).train(resume_from_checkpoint=str(checkpoint))
