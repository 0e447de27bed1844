"""Black-box teachers: answers that stand in a column, against conversions in loops; every refusal."""

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, IterableDataset, LargeList, List, Value
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distilnlp.errors import DistillationError
from distilnlp.objective import Objective
from distilnlp.signals import SignalProfile, SignalRequest, named_inputs
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, TASKS, profile_of
from distilnlp.tasks.forward import forward
from distilnlp.teachers import ColumnTeacher, DistillationCollator, LookUp, LookupTeacher, as_teacher, in_label_order
from tests.conftest import tiny_data, tiny_student
from tests.tiny import TOPICS, tiny_tokenizer

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
LOGITS = SignalRequest()
SMALLEST = 1e-7  # what the docstring says a probability of zero becomes


def column_teacher(form: Any = "probabilities", task: str = SINGLE) -> ColumnTeacher:
    return ColumnTeacher("answer", task, None if task == REGRESSION else TOPICS, form=form)


def looked_up(teacher: LookupTeacher, rows: list[dict[str, Any]]) -> Tensor:
    """The logits that a teacher gives for rows."""
    entries = teacher.look_up(rows, {})
    logits = teacher(entries, LOGITS).logits
    assert entries.keys() == {"given_logits"}
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    return logits


def logits_of(answers: list[Any], form: str = "probabilities", task: str = SINGLE) -> list[list[float]]:
    """The logits of answers in a column, which the check before training must accept too."""
    teacher = column_teacher(form, task)
    teacher.check_rows(Dataset.from_dict({"answer": answers}), "train")
    return looked_up(teacher, [{"answer": answer} for answer in answers]).tolist()


# ---- Conversions, once more in loops ----


def naive_classes(row: list[float]) -> list[float]:
    return [math.log(max(value / math.fsum(row), SMALLEST)) for value in row]


def naive_decisions(row: list[float]) -> list[float]:
    clipped = [min(max(value, SMALLEST), 1 - SMALLEST) for value in row]
    return [math.log(value / (1 - value)) for value in clipped]


def near(rows: list[list[float]]) -> Any:
    return [pytest.approx(row, rel=1e-6, abs=1e-6) for row in rows]


positive = st.lists(st.floats(0, 1) | st.just(0.0), min_size=3, max_size=3).filter(lambda row: sum(row) > 0.1)
DISTRIBUTIONS = st.lists(positive.map(lambda row: [value / math.fsum(row) for value in row]), min_size=1, max_size=6)
DECISIONS = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=6)


@given(DISTRIBUTIONS)
def test_class_probabilities_become_their_logarithms(rows: list[list[float]]) -> None:
    assert logits_of(rows) == near([naive_classes(row) for row in rows])


@given(DECISIONS)
def test_label_probabilities_become_log_odds(rows: list[list[float]]) -> None:
    assert logits_of(rows, task=MULTI) == near([naive_decisions(row) for row in rows])


@given(DISTRIBUTIONS)
def test_log_probabilities_mean_the_same(rows: list[list[float]]) -> None:
    logs = [[math.log(value) if value else -math.inf for value in row] for row in rows]
    assert logits_of(logs, "log_probabilities") == near(logits_of(rows))
    assert logits_of(logs, "log_probabilities", MULTI) == near(logits_of(rows, task=MULTI))


def test_logits_stay_as_they_are() -> None:
    rows = [[-40.0, 3.5, 1e30], [0.0, 0.0, 0.0]]
    assert logits_of(rows, "logits") == logits_of(rows, "logits", MULTI) == near(rows)


@pytest.mark.parametrize("scores", [[1.5, -3.0, 4.0], [[1.5], [-3.0], [4.0]], [1, -3, 4]])
def test_a_score_is_one_number(scores: list[Any]) -> None:
    assert logits_of(scores, "logits", REGRESSION) == [[1.5 if scores[0] != 1 else 1.0], [-3.0], [4.0]]


def test_zero_and_one_are_far_from_the_middle_and_finite() -> None:
    far = math.log(SMALLEST)
    assert logits_of([[0, 1, 0]]) == near([[far, 0.0, far]])
    assert logits_of([[0, 1, 0.5]], task=MULTI) == near([[far, -far, 0.0]])


def test_rounded_probabilities_are_clipped_and_divided_by_their_sum() -> None:
    assert logits_of([[0.333, 0.333, 0.333]]) == near([[math.log(1 / 3)] * 3])
    assert logits_of([[1.0009, -0.0009, 0.0]]) == near([[0.0, math.log(SMALLEST), math.log(SMALLEST)]])


@pytest.mark.parametrize(
    "kind", [List(Value("float32")), LargeList(Value("float64")), List(Value("float16"), length=3)]
)
@pytest.mark.parametrize("format", [None, "torch", "numpy"])
def test_columns_of_every_type_and_format_can_be_read(kind: Any, format: str | None) -> None:
    rows = [[0.5, 0.25, 0.25], [0.0, 0.0, 1.0], [0.125, 0.375, 0.5]]
    dataset = Dataset.from_dict({"answer": rows}, features=Features({"answer": kind})).with_format(format)
    picked = dataset.select([2, 0])
    teacher = column_teacher()
    teacher.check_rows(picked, "train")
    expected = near([naive_classes(rows[2]), naive_classes(rows[0])])
    assert looked_up(teacher, [picked[0], picked[1]]).tolist() == expected


# ---- Top-k ----


def listed(row: dict[str, float]) -> list[dict[str, Any]]:
    return [{"label": name, "score": score} for name, score in row.items()]


def naive_top_k(row: dict[str, float]) -> list[float]:
    others = [name for name in TOPICS if name not in row]
    left = max(1 - math.fsum(row.values()), 0)
    return naive_classes([row[name] if name in row else left / len(others) for name in TOPICS])


@given(st.lists(st.dictionaries(st.sampled_from(TOPICS), st.floats(0, 0.5), min_size=1, max_size=2), min_size=1))
def test_what_the_named_classes_leave_is_spread_over_the_others(rows: list[dict[str, float]]) -> None:
    expected = near([naive_top_k(row) for row in rows])
    assert logits_of([listed(row) for row in rows], "top_k") == expected
    assert logits_of(rows, "top_k") == expected


def test_top_k_may_name_every_class_in_any_order() -> None:
    row = dict(zip(TOPICS[::-1], [0.2, 0.3, 0.5], strict=True))
    assert logits_of([listed(row)], "top_k") == logits_of([row], "top_k") == logits_of([[0.5, 0.3, 0.2]])
    assert logits_of([listed(row)], "top_k", MULTI) == logits_of([[0.5, 0.3, 0.2]], task=MULTI)


# ---- Refusals ----

WRONG: list[tuple[str, str, list[Any], str]] = [
    ("probabilities", SINGLE, [[0.5, 0.5, 0.0], None], "row 1 has no answer: it is null"),
    ("probabilities", SINGLE, [[0.5, 0.5, 0.0], [0.5, 0.5]], "row 1 has 2 values"),
    ("probabilities", SINGLE, [[0.5, 0.5, 0.0], [0.5, 0.5, None]], "row 1 has a null among its values"),
    ("probabilities", SINGLE, [[0.5, 0.5, 0.0], [0.5, math.nan, 0.5]], r"row 1 holds NaN: \[0.5, nan, 0.5\]"),
    (
        "probabilities",
        SINGLE,
        [[0.5, 0.5, 0.0], [math.inf, 0, 0]],
        r"row 1 holds something that is not a probability: \[inf",
    ),
    (
        "probabilities",
        SINGLE,
        [[0.5, 0.5, 0.0], [0.502, 0.5, -0.002]],
        "row 1 holds something that is not a probability",
    ),
    ("probabilities", MULTI, [[0.5, 0.5, 0.0], [1.002, 0.5, 0.5]], "row 1 holds something that is not a probability"),
    ("probabilities", SINGLE, [[0.5, 0.5, 0.0], [0.5, 0.3, 0.18]], "row 1 adds up to 0.98, not to one"),
    ("probabilities", SINGLE, [[0.5, 0.5, 0.0], [0.9, 0.8, 0.7]], "the task is multi_label_classification"),
    ("probabilities", SINGLE, [["0.5", "0.5", "0"]], "it holds string"),
    ("probabilities", SINGLE, [0.5, 0.7], "it holds double"),
    ("probabilities", SINGLE, [[[0.5, 0.5, 0.0]] * 3], "it holds list"),
    ("log_probabilities", SINGLE, [[0.0, -40.0, -50.0], [0.5, -1, -2]], "row 1 holds a log-probability above zero"),
    ("log_probabilities", SINGLE, [[0.0, -40.0, -50.0], [-5.0, -5.0, -5.0]], "row 1 adds up to 0.02021"),
    ("log_probabilities", MULTI, [[math.inf, -1.0, -2.0]], "row 0 holds a log-probability above zero"),
    ("logits", SINGLE, [[0.0, 1.0, 2.0], [-math.inf, 0.0, 0.0]], "row 1 is not finite in float32"),
    ("logits", REGRESSION, [1.0, 1e39], "row 1 is not finite in float32"),
    ("logits", REGRESSION, [1.0, math.nan], "row 1 holds NaN"),
    ("logits", REGRESSION, [[1.0], [1.0, 2.0]], "row 1 has 2 values"),
    ("logits", REGRESSION, ["good", "bad"], "one number a row, the teacher's score, but it holds string"),
    ("top_k", SINGLE, [{"film": 0.9}, {"movie": 0.9}], "row 1 names the label 'movie', which is not one of them"),
    ("top_k", SINGLE, [listed({"film": 0.9}), listed({"movie": 0.9})], "row 1 names the label 'movie'"),
    ("top_k", SINGLE, [listed({"film": 0.9}), 2 * listed({"film": 0.4})], "row 1 names the label 'film' twice"),
    ("top_k", SINGLE, [listed({"film": 0.9}), []], "row 1 names no label"),
    ("top_k", SINGLE, [{"film": 0.9}, {"film": None}], "row 1 names no label"),
    ("top_k", SINGLE, [{"film": 0.9}, {"film": 0.7, "money": 0.4}], "row 1 adds up to 1.1, more than one"),
    ("top_k", SINGLE, [{"film": 0.9}, dict.fromkeys(TOPICS, 0.3)], "row 1 adds up to 0.9, not to one"),
    ("top_k", SINGLE, [{"film": 0.9}, {"film": -0.1}], "row 1 holds something that is not a probability"),
    ("top_k", SINGLE, [{"film": 0.9}, {"film": math.nan}], "row 1 holds NaN"),
    ("top_k", SINGLE, [{"film": 0.9}, None], "row 1 has no answer"),
    ("top_k", SINGLE, [[{"label": "film", "score": None}]], "row 0 has a null among its values"),
    ("top_k", SINGLE, [{"label": "film", "score": 0.9}], "it holds string"),
    ("top_k", SINGLE, [[{"label": 0, "score": 0.9}]], "it holds list"),
    ("top_k", SINGLE, [["film"]], "it holds list"),
    ("top_k", SINGLE, ["film"], "it holds string"),
    ("top_k", MULTI, [dict.fromkeys(TOPICS, 0.3), {"film": 0.3}], "row 1 names only 1 labels"),
]


@pytest.mark.parametrize(("form", "task", "answers", "message"), WRONG)
def test_an_answer_that_cannot_be_is_refused_before_training_and_when_looked_up(
    form: str, task: str, answers: list[Any], message: str
) -> None:
    teacher = column_teacher(form, task)
    with pytest.raises(DistillationError, match=rf"column 'answer' of the train data must hold .*{message}"):
        teacher.check_rows(Dataset.from_dict({"answer": answers}), "train")
    with pytest.raises(DistillationError, match=rf"column 'answer' of a batch must hold .*{message}"):
        teacher.look_up([{"answer": answer} for answer in answers], {})


def test_the_row_is_counted_from_the_first_of_the_data() -> None:
    rows = np.tile([0.5, 0.25, 0.25], (25_000, 1))
    rows[23_456] = 0.5
    dataset = Dataset.from_dict({"answer": rows})
    with pytest.raises(DistillationError, match=r"row 23456 adds up to 1\.5"):
        column_teacher().check_rows(dataset, "train")
    column_teacher().check_rows(dataset.select(range(23_000)), "train")


def test_rows_may_have_numbers_of_their_own() -> None:
    dataset = Dataset.from_dict({"answer": [[0.5, 0.5, 0.0], [0.5, 0.5, 0.5]], "number": [3, 8]})
    with pytest.raises(DistillationError, match=r"^the answers must hold .* row 8 adds up to 1\.5"):
        column_teacher().check_numbered_rows(dataset, "number", "the answers")


def test_the_advice_to_say_the_form_is_right_in_python_and_in_a_recipe() -> None:
    with pytest.raises(DistillationError, match=r"say so with form \(teacher\.form in a recipe\)"):
        logits_of([[2.0, -1.0, 0.5]])
    with pytest.raises(DistillationError, match=r"what it holds with form \(teacher\.form in a recipe\)"):
        logits_of([listed({"film": 0.9})])


def test_an_absent_column_is_refused_with_the_nearest() -> None:
    with pytest.raises(DistillationError, match=r"needs the column 'answer', but the train data .* mean 'answers'\?"):
        column_teacher().check_rows(Dataset.from_dict({"answers": [[1.0, 0.0, 0.0]]}), "train")


def test_rows_of_different_types_are_refused() -> None:
    with pytest.raises(DistillationError, match="rows do not agree in type"):
        column_teacher("top_k").look_up([{"answer": {"film": 0.9}}, {"answer": [0.9]}], {})


def test_a_batch_of_rows_with_and_without_answers_is_refused() -> None:
    with pytest.raises(DistillationError, match=r"its row 1 has only \['text'\]"):
        column_teacher().look_up([{"answer": [1.0, 0.0, 0.0]}, {"text": "film"}], {})


def test_a_stream_passes_and_is_checked_as_it_runs() -> None:
    stream = IterableDataset.from_generator(lambda: iter([{"answer": [0.5, 0.5]}]))
    column_teacher().check_rows(stream, "train")
    with pytest.raises(DistillationError, match="row 0 has 2 values"):
        column_teacher().look_up(list(stream), {})


@pytest.mark.parametrize("task", sorted(TASKS.keys() - {SINGLE, MULTI, REGRESSION}))
def test_tasks_of_something_else_than_whole_texts_are_refused_by_name(task: str) -> None:
    with pytest.raises(DistillationError, match=f"this task is {task}"):
        ColumnTeacher("answer", TASKS[task], TOPICS)


@pytest.mark.parametrize("names", [None, (), ("film",), ("film", "film"), "film", (0, 1)])
def test_label_names_that_cannot_be_are_refused(names: Any) -> None:
    with pytest.raises(DistillationError, match="label_names must be a list of 2 or more different names"):
        ColumnTeacher("answer", SINGLE, names)


def test_regression_has_one_output_and_one_form() -> None:
    with pytest.raises(DistillationError, match="label_names must be None or one name for regression"):
        ColumnTeacher("answer", REGRESSION, TOPICS, form="logits")
    message = r"form \(teacher\.form in a recipe\) must be one of \['logits'\] for regression"
    with pytest.raises(DistillationError, match=message):
        ColumnTeacher("answer", REGRESSION, None)
    with pytest.raises(DistillationError, match="Did you mean 'logits'"):
        ColumnTeacher("answer", SINGLE, TOPICS, form="logit")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (SignalRequest(hidden_states=frozenset({0})), "hidden_states"),
        (SignalRequest(attentions=frozenset({1}), qkv=frozenset({1})), "attentions and qkv"),
    ],
)
def test_signals_that_a_column_cannot_give_are_refused_by_name(request_: SignalRequest, wanted: str) -> None:
    with pytest.raises(
        DistillationError, match=f"needs the teacher's {wanted}, but a ColumnTeacher gives logits alone"
    ):
        column_teacher()({"given_logits": torch.zeros(1, 3)}, request_)


# ---- As a teacher ----


def answered(count: int = 6) -> Dataset:
    """Tokenised rows with probabilities."""
    answers = np.random.default_rng(0).dirichlet([1.0] * 3, count)
    return tiny_data(count).add_column("answer", answers.tolist())


def collated(teacher: LookupTeacher, dataset: Dataset) -> dict[str, Tensor]:
    student_columns = named_inputs(tiny_student()) | {"label"}
    rows = [{name: row[name] for name in row if name in student_columns | teacher.columns} for row in dataset]
    collate = SINGLE_LABEL_CLASSIFICATION.collator(tiny_tokenizer())
    return DistillationCollator(collate, look_up=LookUp(teacher, student_columns))(rows)


def test_the_answers_of_a_column_come_with_the_batch() -> None:
    data = answered()
    teacher = column_teacher()
    batch = collated(teacher, data)
    assert as_teacher(teacher) is teacher
    assert isinstance(teacher, LookupTeacher)
    assert teacher.profile == SignalProfile(TOPICS, 3, task=SINGLE)
    assert teacher.columns == {"answer"}
    assert "answer" not in batch
    assert teacher(batch, LOGITS).logits.tolist() == near([naive_classes(row["answer"]) for row in data])


def test_a_students_label_order_may_be_another() -> None:
    data = answered()
    wanted = profile_of(tiny_student(labels=("sport", "film", "money")))
    logits = in_label_order(column_teacher(), wanted, "the student")(collated(column_teacher(), data), LOGITS).logits
    expected = [[naive_classes(row["answer"])[TOPICS.index(name)] for name in wanted.label_names] for row in data]
    assert logits.tolist() == near(expected)


def test_rows_to_evaluate_on_need_no_answer_but_a_loss_against_them_does() -> None:
    batch = collated(column_teacher(), tiny_data(3))
    assert "given_logits" not in batch
    with pytest.raises(DistillationError, match=r"looked up by the columns \['answer'\].*absent from its rows"):
        column_teacher()(batch, LOGITS)


def test_a_teacher_can_go_to_another_process() -> None:
    """Where processes that load data are not forked, they get a pickled copy."""
    rows = [{"answer": [0.5, 0.25, 0.25]}]
    copy = pickle.loads(pickle.dumps(column_teacher()))
    assert torch.equal(looked_up(copy, rows), looked_up(column_teacher(), rows))


def test_the_objective_reads_a_column_as_it_reads_any_teacher() -> None:
    student, teacher, data = tiny_student(), column_teacher(), answered()
    batch = collated(teacher, data)
    objective = Objective(
        SINGLE_LABEL_CLASSIFICATION,
        temperature=2.0,
        hard_loss_weight=0.0,
        soft_loss_weight=1.0,
        losses=[],
        student=profile_of(student),
        teacher=teacher.profile,
    )
    answer = teacher(batch, objective.teacher_request)
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3)
    values = []
    for _ in range(2):
        signals, _ = forward(student, SINGLE_LABEL_CLASSIFICATION, batch, named_inputs(student), LOGITS)
        values.append(objective(signals, answer, batch)[0])
        if len(values) == 1:
            expected = naive_soft_loss(signals.logits.tolist(), [row["answer"] for row in data], temperature=2.0)
        optimizer.zero_grad()
        values[-1].backward()
        optimizer.step()
    assert values[0].item() == pytest.approx(expected, rel=1e-5)
    assert values[1].item() < values[0].item()


def naive_soft_loss(logits: list[list[float]], probabilities: list[list[float]], temperature: float) -> float:
    """T² · KL of the distributions softened by T: the teacher's is p to the power of 1/T, with a sum of one."""
    total = 0.0
    for own, other in zip(logits, probabilities, strict=True):
        student, teacher = [math.exp(z / temperature) for z in own], [p ** (1 / temperature) for p in other]
        for q, p in zip(student, teacher, strict=True):
            p, q = p / sum(teacher), q / sum(student)
            total += temperature**2 * p * math.log(p / q)
    return total / len(logits)
