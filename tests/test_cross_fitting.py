"""Cross-fitting: folds that leak no label, and teachers that answer the fold that they did not learn from."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distilnlp import EnsembleTeacher, LiveTeacher
from distilnlp.data import RowFormat, assign_folds
from distilnlp.errors import DistillationError
from distilnlp.signals import FOLD, NO_FOLD, SignalProfile, SignalRequest
from distilnlp.tasks import (
    CHOICE_ROWS,
    MULTI_LABEL_ROWS,
    QUESTION_ROWS,
    REGRESSION_ROWS,
    SINGLE_LABEL_ROWS,
    TASKS,
    TOKEN_ROWS,
    profile_of,
)
from distilnlp.tasks.single_label.rows import SingleLabelRows
from distilnlp.teachers import CrossFittedTeacher
from tests.tiny import TOPICS
from tests.tiny_tasks import collated, signals_of, task_model, task_rows

LOGITS = SignalRequest()
NONE = -100


def texts(contents: list[Any], labels: list[Any]) -> Dataset:
    return Dataset.from_dict({"text": [str(content) for content in contents], "label": labels})


def classified(counts: list[int], unlabelled: int = 0) -> Dataset:
    """Different texts, `counts` of each class, then some without a label."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)] + [NONE] * unlabelled
    return texts(list(range(len(labels))), labels)


def folds_of(rows: Dataset, num_folds: int = 3, seed: int = 0) -> list[int]:
    return assign_folds(rows, SINGLE_LABEL_ROWS, num_folds, seed).tolist()


# ---- Folds ----


@given(
    counts=st.lists(st.integers(4, 30), min_size=1, max_size=4),
    num_folds=st.integers(2, 4),
    seed=st.integers(0, 2**31),
)
def test_every_fold_has_its_share_of_every_class(counts: list[int], num_folds: int, seed: int) -> None:
    rows = classified(counts)
    pairs = Counter(zip(folds_of(rows, num_folds, seed), rows["label"], strict=True))
    for label, count in enumerate(counts):
        shares = [pairs[fold, label] for fold in range(num_folds)]
        assert sum(shares) == count
        assert max(shares) - min(shares) <= 1


@given(
    contents=st.lists(st.integers(0, 12), min_size=30, max_size=60),
    seed=st.integers(0, 2**16),
    num_folds=st.integers(2, 4),
)
def test_rows_of_equal_content_share_a_fold(contents: list[int], seed: int, num_folds: int) -> None:
    """Where a text is there with a label and without one, the row without gets the same fold."""
    rng = np.random.default_rng(seed)
    scores = [math.nan if rng.random() < 0.4 else float(value) for value in contents]
    rows = texts([*contents, *"abcd"], [*scores, 1.0, 2.0, 3.0, 4.0])
    folds = assign_folds(rows, REGRESSION_ROWS, num_folds, seed).tolist()
    labelled = {text for text, score in zip(rows["text"], rows["label"], strict=True) if not math.isnan(score)}
    fold_of: dict[str, int] = {}
    for text, fold in zip(rows["text"], folds, strict=True):
        assert fold_of.setdefault(text, fold) == fold
        assert (fold in range(num_folds)) if text in labelled else (fold == NO_FOLD)
    assert {*folds} - {NO_FOLD} == set(range(num_folds))


def test_a_text_and_its_pair_make_the_content() -> None:
    rows = Dataset.from_dict(
        {"text": ["a", "a", "b", "b"], "text_pair": ["x", "x", "x", "x"], "label": [0.0, 1.0, 2.0, math.nan]}
    )
    folds = assign_folds(rows, REGRESSION_ROWS, 2, seed=0).tolist()
    assert folds[0] == folds[1] != folds[2] == folds[3]


def test_rows_without_a_label_have_no_fold() -> None:
    folds = folds_of(classified([6, 6], unlabelled=4))
    assert folds[-4:] == [NO_FOLD] * 4
    assert NO_FOLD not in folds[:-4]


def test_a_transfer_set_changes_no_fold() -> None:
    texts, labels = [str(number) for number in range(40)], [number % 2 for number in range(40)]
    more = [*(str(number) for number in range(20, 60)), *texts]
    few = Dataset.from_dict({"text": texts, "label": labels})
    all_rows = Dataset.from_dict({"text": [*more, *texts], "label": [*[-100] * len(more), *labels]})
    wanted, got = (assign_folds(rows, SINGLE_LABEL_ROWS, 4, seed=0) for rows in (few, all_rows))
    np.testing.assert_array_equal(got[-40:], wanted)
    np.testing.assert_array_equal(got[:20], wanted[20:])  # copies of labelled rows
    assert set(got[20:40]) == {-1}


def test_the_seed_decides() -> None:
    rows = classified([20, 20])
    assert folds_of(rows, seed=1) == folds_of(rows, seed=1)
    assert folds_of(rows, seed=1) != folds_of(rows, seed=2)


@pytest.mark.parametrize("salt", [1, 2, 3])
def test_folds_do_not_depend_on_how_texts_are_hashed(salt: int) -> None:
    """As they would if another process, whose hashes have another salt, were to find other folds."""

    class Salted(SingleLabelRows):
        def keys(self, rows: Dataset) -> Iterator[int]:
            return (hash((salt, key)) for key in super().keys(rows))

    rows = texts([*range(30), *range(10)], [*[0, 1] * 15, *[NONE] * 10])
    assert assign_folds(rows, Salted(), 3, seed=0).tolist() == folds_of(rows)


QUESTIONS = {"question": list("abcdef"), "context": ["x"] * 6, "answers": [["x"]] * 5 + [[]]}
TAGGED = {"words": [[word] for word in "abcdef"], "label": [[0]] * 5 + [[NONE]]}
CHOICES = {"text": ["who"] * 6, "choices": [[name, "z"] for name in "abcdef"], "label": [0] * 5 + [NONE]}
SEVERAL = {"text": list("abcdef"), "label": [[1.0, 0.0]] * 5 + [[math.nan] * 2]}


@pytest.mark.parametrize(
    ("row_format", "columns"),
    [(QUESTION_ROWS, QUESTIONS), (TOKEN_ROWS, TAGGED), (CHOICE_ROWS, CHOICES), (MULTI_LABEL_ROWS, SEVERAL)],
    ids=lambda value: getattr(value, "task", ""),
)
def test_tasks_without_one_class_a_row_are_split_at_random(row_format: RowFormat, columns: dict[str, Any]) -> None:
    folds = assign_folds(Dataset.from_dict(columns), row_format, 2, seed=0).tolist()
    assert sorted(Counter(folds[:5]).values()) == [2, 3]
    assert folds[5] == NO_FOLD


@pytest.mark.parametrize("num_folds", [-1, 0, 1])
def test_fewer_than_two_folds_are_refused(num_folds: int) -> None:
    with pytest.raises(DistillationError, match="2 folds or more"):
        folds_of(classified([6, 6]), num_folds)


def test_more_folds_than_rows_of_a_class_are_refused() -> None:
    with pytest.raises(DistillationError, match="class 1, the smallest of 3, has 2 labelled rows for 3 folds"):
        folds_of(classified([6, 2, 6]))


@pytest.mark.parametrize("contents", ["ab", "abab", ""])
def test_more_folds_than_different_labelled_rows_are_refused(contents: str) -> None:
    rows = texts([*contents, "c", "d"], [*[1.0] * len(contents), math.nan, math.nan])
    message = f"there are {len(contents)} labelled rows, {len(set(contents))} of them different, for 3 folds"
    with pytest.raises(DistillationError, match=message):
        assign_folds(rows, REGRESSION_ROWS, 3, seed=0)


def test_a_class_that_some_teacher_would_not_see_is_refused() -> None:
    rows = texts([*range(6), "same", "same", "same"], [0] * 6 + [1] * 3)
    with pytest.raises(DistillationError, match="all labelled rows of class 1 are in fold"):
        folds_of(rows, 2)


# ---- Teachers ----

ANSWERED = [task for task in TASKS if task != "masked_lm"]
FOLDS = [2, -1, 0, 1, 0, -1, 2]
every_task = pytest.mark.parametrize("task", ANSWERED)


def teachers_of(task: str) -> list[LiveTeacher]:
    """Three, of different families and depths."""
    return [
        LiveTeacher(task_model(task, seed=1).double()),
        LiveTeacher(task_model(task, "distilbert", seed=2).double()),
        LiveTeacher(task_model(task, seed=3, num_hidden_layers=2).double()),
    ]


def batch_with(task: str, folds: list[int]) -> dict[str, Tensor]:
    rows = task_rows(task, labelled=3, unlabelled=len(folds) - 3)
    return {**collated(task, rows), FOLD: torch.tensor(folds)}


@every_task
def test_every_row_is_answered_by_its_own_teacher(task: str) -> None:
    teachers, batch = teachers_of(task), batch_with(task, FOLDS)
    got = CrossFittedTeacher(teachers)(batch, LOGITS).logits
    assert len(got) == len(FOLDS)
    for row, fold in enumerate(FOLDS):
        alone = {name: value[row : row + 1] for name, value in batch.items() if name != FOLD}
        teacher = EnsembleTeacher(teachers) if fold == -1 else teachers[fold]
        torch.testing.assert_close(got[row], teacher(alone, LOGITS).logits[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("fold", [-1, 1])
def test_a_batch_of_one_fold_is_answered_whole(fold: int) -> None:
    batch = batch_with("token_classification", [fold] * 4)
    teachers = teachers_of("token_classification")
    expected = (EnsembleTeacher(teachers) if fold == -1 else teachers[fold])(batch, LOGITS).logits
    assert torch.equal(CrossFittedTeacher(teachers)(batch, LOGITS).logits, expected)


def test_a_teacher_sees_its_own_rows_alone() -> None:
    task, seen = "single_label_classification", []

    class Watched(LiveTeacher):
        def __call__(self, batch: Any, request: SignalRequest) -> Any:
            seen.append(len(batch["input_ids"]))
            return super().__call__(batch, request)

    CrossFittedTeacher([Watched(task_model(task, seed=seed)) for seed in range(3)])(
        batch_with(task, [0, 0, 1, 1, 1]), LOGITS
    )
    assert seen == [2, 3]


def test_teachers_are_joined_by_label_name() -> None:
    task, turned = "single_label_classification", ("sport", "film", "money")
    own, other = task_model(task).double(), task_model(task, seed=1, labels=turned).double()
    teacher, batch = CrossFittedTeacher([LiveTeacher(own), LiveTeacher(other)]), batch_with(task, [1, 1, 1])
    assert teacher.profile.label_names == TOPICS
    expected = signals_of(other, task, batch).logits[:, [1, 2, 0]]
    assert torch.equal(teacher(batch, LOGITS).logits, expected)


def test_what_it_reads_and_gives() -> None:
    bert, distilbert = (task_model("token_classification", family) for family in ("bert", "distilbert"))
    teacher = CrossFittedTeacher([LiveTeacher(distilbert), LiveTeacher(bert)])
    assert teacher.columns == LiveTeacher(bert).columns | LiveTeacher(distilbert).columns | {"fold"}
    labels = profile_of(bert).label_names
    assert teacher.profile == SignalProfile(labels, 4, task="token_classification")
    assert teacher.profile.num_hidden_states == 0


def test_dtypes_may_differ() -> None:
    task = "single_label_classification"
    teachers = [LiveTeacher(task_model(task), "bfloat16"), LiveTeacher(task_model(task, seed=1), "float32")]
    got = CrossFittedTeacher(teachers)(batch_with(task, [1, 0, 1]), LOGITS).logits
    assert got.dtype == torch.float32
    assert got.isfinite().all()


@pytest.mark.parametrize("kind", ["hidden_states", "attentions", "qkv"])
def test_more_than_logits_is_refused(kind: str) -> None:
    teacher = CrossFittedTeacher(teachers_of("regression"))
    with pytest.raises(DistillationError, match=f"only logits.*{kind} are asked for"):
        teacher(batch_with("regression", FOLDS), SignalRequest(**{kind: frozenset({1})}))


def test_a_batch_without_folds_is_refused() -> None:
    batch = batch_with("regression", FOLDS)
    del batch[FOLD]
    with pytest.raises(DistillationError, match="Add the column 'fold'"):
        CrossFittedTeacher(teachers_of("regression"))(batch, LOGITS)


@pytest.mark.parametrize("wrong", [3, -2, 0.5, math.nan])
def test_a_fold_without_a_teacher_is_refused(wrong: float) -> None:
    batch = {**batch_with("regression", FOLDS), FOLD: torch.tensor([0, 1, 2, -1, 0, 0, wrong])}
    with pytest.raises(DistillationError, match=rf"from 0 to 2, .* has {wrong}"):
        CrossFittedTeacher(teachers_of("regression"))(batch, LOGITS)


@pytest.mark.parametrize("count", [0, 1])
def test_one_teacher_is_not_enough(count: int) -> None:
    with pytest.raises(DistillationError, match="two teachers or more"):
        CrossFittedTeacher(teachers_of("regression")[:count])


def test_teachers_of_different_tasks_are_refused() -> None:
    teachers = [LiveTeacher(task_model(task)) for task in ("single_label_classification", "multi_label_classification")]
    with pytest.raises(DistillationError, match="must be for the same task"):
        CrossFittedTeacher(teachers)


def test_masked_language_models_are_refused() -> None:
    """Their logits are those of all masked tokens in one, whatever row they are in."""
    with pytest.raises(DistillationError, match="masked_lm cannot be cross-fitted"):
        CrossFittedTeacher([LiveTeacher(task_model("masked_lm", seed=seed)) for seed in (0, 1)])
