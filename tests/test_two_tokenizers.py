"""A teacher with another tokenizer than its student, in a training."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from distilnlp import CachedTeacher, DistillationTrainer, EnsembleTeacher, OwnEncodingTeacher, SignalRequest, as_teacher
from distilnlp.errors import DistillationError
from tests.conftest import tiny_arguments
from tests.naive_features import mean
from tests.test_aligned_answers import TASK, answer_batch, naive_alignment, question_rows
from tests.test_data_questions import row
from tests.test_words import STUDENT, TEACHER, TEXTS, encoded_rows, naive_mse, pairs_of_means
from tests.tiny_tasks import task_student, task_teacher

VOCABULARY = 400  # more than either has


def text_data() -> Dataset:
    texts = [*TEXTS, "bad bed", "face ace cab head", "fed a hhh.", "ace, bad"]
    return Dataset.from_list([{**one, "label": index % 3} for index, one in enumerate(encoded_rows(texts))])


def answer_data() -> Dataset:
    texts = ["bad cab face ace bed", "a bed hhh fed. bad head ace face bad cab", "ace bad", "head face ace"]
    return question_rows([row("a bad", text, (text.split()[1], text.index(text.split()[1]))) for text in texts], 14)


def trainer_of(folder: Path, task: str, rows: Dataset, **options: Any) -> DistillationTrainer:
    student = task_student(task, vocab_size=VOCABULARY, max_position_embeddings=64)
    teacher = task_teacher(task, vocab_size=VOCABULARY, max_position_embeddings=64)
    still = {"teacher_cache_dtype": "float32", "seed": 3, "max_steps": 6, **options}
    return DistillationTrainer(
        student,
        teacher,
        tiny_arguments(folder, **still),
        train_dataset=rows,
        processing_class=STUDENT,
        teacher_processing_class=TEACHER,
    )


STATES = [
    {"name": "hidden_state_mse", "layer_mapping": "learned"},
    {"name": "hidden_state_cosine"},
    {"name": "neuron_selectivity"},
    {"name": "embedding_mse"},
    {"name": "pkd"},
]


@pytest.mark.parametrize("task", ["single_label_classification", "question_answering"])
def test_answers_that_are_kept_train_as_those_of_a_live_teacher(tmp_path: Path, task: str) -> None:
    rows = answer_data() if task == "question_answering" else text_data()
    plain = {"losses": STATES, "optim": "sgd", "learning_rate": 0.1}  # Adam makes much of what is rounding alone
    live = trainer_of(tmp_path / "live", task, rows, teacher_cache="off", **plain)
    kept = trainer_of(tmp_path / "kept", task, rows, teacher_cache="auto", **plain)
    before = {name: value.clone() for name, value in kept.model.state_dict().items()}
    for trainer in (live, kept):
        trainer.train()
    assert (tmp_path / "kept" / "_teacher_cache" / "manifest.json").is_file()
    for name, value in live.model.state_dict().items():
        torch.testing.assert_close(kept.model.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)
    assert any(not torch.equal(before[name], value) for name, value in kept.model.state_dict().items())
    manifest = (tmp_path / "kept" / "_teacher_cache" / "manifest.json").read_text()
    assert "word_ids" not in manifest
    assert "offsets" not in manifest


@pytest.mark.parametrize(("batch", "accumulated"), [(8, 1), (2, 4)])
def test_the_soft_loss_is_that_of_the_aligned_answers(tmp_path: Path, batch: int, accumulated: int) -> None:
    rows = answer_data()
    options = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated, "max_steps": 1}
    options |= {"temperature": 1.0}
    losses = [{"name": "hidden_state_mse", "layer_mapping": [[2, 4]]}]
    trainer = trainer_of(tmp_path, "question_answering", rows.select(range(4)), losses=losses, **options)
    batches = [answer_batch(rows.select([at])) for at in range(4)]
    expected, squares = [], []
    weights = [value.detach().double() for value in trainer.distillation_objective.projections.parameters()]
    for one in batches:
        with torch.no_grad():
            own = trainer.model.eval()(one["input_ids"], one["attention_mask"], output_hidden_states=True)
            other = trainer.teacher.given._model(
                one["teacher_input_ids"], one["teacher_attention_mask"], output_hidden_states=True
            )
        places = one["context_mask"][0].bool().tolist()
        for end, name in enumerate(("start_logits", "end_logits")):
            wanted = naive_alignment(other[name][0].double().tolist(), one, 0, end)
            kept = [math.exp(value) if value is not None else 0.0 for value in wanted]
            p = [value / sum(kept) for value in kept]
            q = (own[name][0].double().masked_fill(~torch.tensor(places), -math.inf)).softmax(-1).tolist()
            expected.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a))
        states = own.hidden_states[2].double() @ weights[0].T + weights[1]
        (pairs,) = pairs_of_means(one, states, other.hidden_states[4].double())
        squares += naive_mse(pairs)
    trainer.train()
    logged = trainer.state.log_history[0]
    assert math.isclose(logged["hidden_state_mse"], mean(squares), rel_tol=1e-4)
    assert math.isclose(logged["soft_loss"], mean(expected), rel_tol=1e-3)


@pytest.mark.parametrize(
    ("task", "losses", "message"),
    [
        ("single_label_classification", ["minilmv2"], "minilmv2: .*Use a student with the teacher's tokenizer, or"),
        ("single_label_classification", ["attention_kl", "hidden_state_mse"], "attention_kl: student and teacher"),
        ("question_answering", ["logit_mse"], "logit_mse: .* token by token"),
        ("question_answering", ["standardized_kl", "minilm"], "standardized_kl, minilm: "),
    ],
)
def test_losses_that_nothing_aligns_are_refused_by_name(
    tmp_path: Path, task: str, losses: list[str], message: str
) -> None:
    rows = answer_data() if task == "question_answering" else text_data()
    trainer = trainer_of(tmp_path, task, rows, losses=[{"name": name} for name in losses])
    with pytest.raises(DistillationError, match=f"^{message}"):
        trainer.train()


def test_rows_that_lack_what_aligns_them_are_told_the_columns(tmp_path: Path) -> None:
    texts = text_data().remove_columns(["teacher_word_ids"])
    with pytest.raises(DistillationError, match=r"^hidden_state_mse: .*give the rows word_ids and teacher_word_ids"):
        trainer_of(tmp_path, "single_label_classification", texts, losses=[{"name": "hidden_state_mse"}]).train()
    answers = answer_data().remove_columns(["offsets"])
    with pytest.raises(DistillationError, match=r"^soft_loss: .*give the rows offsets and teacher_offsets"):
        trainer_of(tmp_path, "question_answering", answers).train()


def test_one_vocabulary_is_asked_of_masked_language_models(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"masked language modelling .* Use a student with the teacher's"):
        trainer_of(tmp_path, "masked_lm", text_data())


def test_a_teacher_of_its_own_encoding_names_what_aligns_it() -> None:
    teacher = OwnEncodingTeacher(as_teacher(task_teacher("question_answering", vocab_size=VOCABULARY)))
    assert {"offsets", "teacher_offsets", "word_ids", "teacher_word_ids", "teacher_context_mask"} <= teacher.columns
    batch = answer_batch(answer_data())
    assert teacher(batch, SignalRequest()).logits.shape == (len(batch["input_ids"]), 2, batch["input_ids"].shape[1])


@pytest.mark.parametrize("cache", ["off", "auto"])
def test_an_ensemble_answers_questions_in_pieces_of_its_own(tmp_path: Path, cache: str) -> None:
    rows = answer_data()
    names = {name: name.replace("teacher_", "first_") for name in rows.column_names if name.startswith("teacher_")}
    models = [task_teacher("question_answering", vocab_size=VOCABULARY, seed=seed) for seed in (0, 1)]
    members = [OwnEncodingTeacher(as_teacher(model, "float32"), "first_") for model in models]
    trainer = DistillationTrainer(
        task_student("question_answering", vocab_size=VOCABULARY),
        EnsembleTeacher(members),
        tiny_arguments(tmp_path, teacher_cache=cache, teacher_cache_dtype="float32", max_steps=6, temperature=1.0),
        train_dataset=rows.rename_columns(names),
        processing_class=STUDENT,
        teacher_processing_class={"first_": TEACHER},
    )
    trainer.teacher.start(trainer.distillation_objective, trainer._answered_datasets(), trainer.data_collator)
    assert isinstance(trainer.teacher.given, CachedTeacher) == (cache == "auto")
    batch = next(iter(trainer.get_train_dataloader()))
    answer = trainer.teacher(batch, SignalRequest()).logits.masked_fill(~TASK.class_mask(batch), -math.inf)
    trainer.teacher.end()
    assert isinstance(trainer.teacher.given, EnsembleTeacher)
    whole = answer_batch(rows)
    own = {name.removeprefix("teacher_"): value for name, value in whole.items() if name.startswith("teacher_")}
    with torch.no_grad():
        expected = torch.stack(
            [
                TASK.align_logits(as_teacher(model, "float32")(own, SignalRequest()).logits, whole, own)
                .masked_fill(~TASK.class_mask(whole), -math.inf)
                .softmax(dim=-1)
                for model in models
            ]
        ).mean(dim=0)
    for ids, found in zip(batch["input_ids"].tolist(), answer.softmax(dim=-1), strict=True):
        inside = [
            index for index, row in enumerate(rows["input_ids"]) if row == ids[: len(row)] and not any(ids[len(row) :])
        ]
        length = int(whole["attention_mask"][inside[0]].sum())
        torch.testing.assert_close(found[:, :length], expected[inside[0]][:, :length], rtol=1e-4, atol=1e-5)
