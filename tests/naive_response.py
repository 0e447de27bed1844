"""Naive versions of the response losses, in loops over the numbers of one item: only the classes that exist come in."""

import math
from collections.abc import Callable

Row = list[float]
Rows = list[list[float | None]]  # None = this item does not have the class


def softmax(logits: Row, temperature: float = 1.0) -> Row:
    powers = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def kl(p: Row, q: Row) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def mean(values: Row) -> float:
    return sum(values) / len(values) if values else 0.0


# ---- One item ----


def forward_kl(student: Row, teacher: Row, temperature: float) -> float:
    return temperature**2 * kl(softmax(teacher, temperature), softmax(student, temperature))


def reverse_kl(student: Row, teacher: Row, temperature: float) -> float:
    return temperature**2 * kl(softmax(student, temperature), softmax(teacher, temperature))


def jensen_shannon(student: Row, teacher: Row, temperature: float) -> float:
    p, q = softmax(teacher, temperature), softmax(student, temperature)
    mixture = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return temperature**2 * (kl(p, mixture) + kl(q, mixture)) / 2


def logit_mse(student: Row, teacher: Row, temperature: float) -> float:
    return mean([(a - b) ** 2 for a, b in zip(student, teacher, strict=True)])


def standardized_kl(student: Row, teacher: Row, temperature: float) -> float:
    return forward_kl(standard_scores(student), standard_scores(teacher), temperature)


def standard_scores(row: Row) -> Row:
    variance = mean([(value - mean(row)) ** 2 for value in row])
    return [(value - mean(row)) / math.sqrt(variance + 1e-6) for value in row]


def dkd(
    student: Row,
    teacher: Row,
    temperature: float,
    label: int | None = None,
    target_weight: float = 1.0,
    non_target_weight: float = 8.0,
) -> float:
    """`label` counts the classes that come in."""
    target = teacher.index(max(teacher)) if label is None else label
    p, q = softmax(teacher, temperature), softmax(student, temperature)
    others = [c for c in range(len(p)) if c != target]
    if not others:
        return 0.0
    p_other, q_other = sum(p[c] for c in others), sum(q[c] for c in others)
    binary = kl([p[target], p_other], [q[target], q_other])
    rest = kl([p[c] / p_other for c in others], [q[c] / q_other for c in others])
    return temperature**2 * (target_weight * binary + non_target_weight * rest)


# ---- One call ----


def correlation(own: Row, other: Row) -> float:
    def spread(row: Row) -> float:
        variance = mean([(value - mean(row)) ** 2 for value in row])
        return math.sqrt(variance + 1e-8 * mean([value**2 for value in row]) + 1e-30)

    return mean([(a - mean(own)) * (b - mean(other)) for a, b in zip(own, other, strict=True)]) / (
        spread(own) * spread(other)
    )


def dist(
    student: Rows, teacher: Rows, temperature: float, inter_weight: float = 1.0, intra_weight: float = 1.0
) -> list[float]:
    """One value an item; only items that count and have a class come in."""
    own, other = softened(student, temperature), softened(teacher, temperature)
    intra = []
    for of_student, of_teacher in zip(zip(*own, strict=True), zip(*other, strict=True), strict=True):
        if len(present(of_student)) > 1:
            intra.append(1 - correlation(present(of_student), present(of_teacher)))
    values = []
    for of_student, of_teacher in zip(own, other, strict=True):
        pair = present(of_student), present(of_teacher)
        inter = 1 - correlation(*pair) if len(pair[0]) > 1 else 0.0
        values.append(temperature**2 * (inter_weight * inter + intra_weight * mean(intra)))
    return values


def softened(rows: Rows, temperature: float) -> Rows:
    """Softmax over the classes of each item, back in their places."""
    result: Rows = []
    for row in rows:
        probabilities = iter(softmax(present(row), temperature))
        result.append([None if value is None else next(probabilities) for value in row])
    return result


def present(row: tuple[float | None, ...] | list[float | None]) -> Row:
    return [value for value in row if value is not None]


ONE_ITEM: dict[str, Callable[..., float]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jensen_shannon": jensen_shannon,
    "logit_mse": logit_mse,
    "standardized_kl": standardized_kl,
    "dkd": dkd,
}
