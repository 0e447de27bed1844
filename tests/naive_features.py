"""The feature and relation losses, written out in loops over single numbers: each returns the values of its items."""

import math

import torch
from torch import Tensor

Vector = list[float]


def numbers(seed: int, *shape: int) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mask_of(lengths: list[int]) -> Tensor:
    """Bool `[texts, longest]`: True for the real tokens of texts of these lengths."""
    return torch.arange(max(*lengths, 1)) < torch.tensor(lengths)[:, None]


def mean(values: Vector) -> float:
    return math.fsum(values) / len(values) if values else 0.0


# ---- Vectors and distributions ----


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def unit(a: Vector) -> Vector:
    length = math.sqrt(dot(a, a))
    return [x / length if length else 0.0 for x in a]


def distance(a: Vector, b: Vector) -> float:
    return math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def softmax(scores: Vector) -> Vector:
    powers = [math.exp(score - max(scores)) for score in scores]
    return [power / math.fsum(powers) for power in powers]


def divergence(p: Vector, q: Vector) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def huber(own: float, other: float) -> float:
    difference = abs(own - other)
    return difference**2 / 2 if difference <= 1 else difference - 0.5


def places(row: Tensor) -> list[int]:
    return [place for place, counts in enumerate(row.tolist()) if counts]


# ---- Attention maps ----


def _maps(student: Tensor, teacher: Tensor) -> list[tuple[list[Vector], list[Vector]]]:
    """Pair the heads of one text; if their numbers differ, one pair of average maps."""
    own, other = student.tolist(), teacher.tolist()
    if len(own) == len(other):
        return list(zip(own, other, strict=True))
    places = range(len(own[0]))
    return [tuple([[mean([head[i][j] for head in side]) for j in places] for i in places] for side in (own, other))]


def naive_attention_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Vector:
    values = []
    for own, other, row in zip(student, teacher, mask, strict=True):
        keys, heads = places(row), _maps(own, other)
        for query in keys:
            squares = [(a[query][key] - b[query][key]) ** 2 for a, b in heads for key in keys]
            values.append(mean(squares))
    return values


def naive_attention_kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Vector:
    values = []
    for own, other, row in zip(student, teacher, mask, strict=True):
        keys, heads = places(row), _maps(own, other)
        for i in keys:
            values.append(mean([divergence([b[i][j] for j in keys], [a[i][j] for j in keys]) for a, b in heads]))
    return values


# ---- Hidden states ----


def naive_pkd(student: Tensor, teacher: Tensor, mask: Tensor) -> Vector:
    return [distance(unit(student[i].tolist()), unit(teacher[i].tolist())) ** 2 for i in places(mask)]


def naive_activation_boundary(student: Tensor, teacher: Tensor, mask: Tensor, margin: float) -> Vector:
    """By the paper's formula: the hinge of each side times whether the teacher's neuron is on, or off."""

    def of_neuron(own: float, other: float) -> float:
        on = 1.0 if other > 0 else 0.0
        return (on * max(0.0, margin - own) + (1 - on) * max(0.0, margin + own)) ** 2

    values = []
    for own, other, row in zip(student, teacher, mask, strict=True):
        for place in places(row):
            values.append(
                mean([of_neuron(a, b) for a, b in zip(own[place].tolist(), other[place].tolist(), strict=True)])
            )
    return values


def naive_neuron_selectivity(student: Tensor, teacher: Tensor, mask: Tensor) -> Vector:
    """The squared maximum mean discrepancy by its definition: means of the kernel over all pairs of neurons."""

    def kernel(one: list[Vector], two: list[Vector]) -> float:
        return mean([dot(a, b) ** 2 for a in one for b in two])

    values = []
    for own, other, row in zip(student, teacher, mask, strict=True):
        if row.any():
            s, t = ([unit(neuron) for neuron in side[row].T.tolist()] for side in (own, other))
            values.append(kernel(s, s) + kernel(t, t) - 2 * kernel(s, t))
    return values


# ---- Relations inside a text ----


def _relation(rows: list[Vector], columns: list[Vector]) -> list[Vector]:
    return [softmax([dot(row, column) / math.sqrt(len(row)) for column in columns]) for row in rows]


def _token_divergences(own: list[list[Vector]], other: list[list[Vector]]) -> Vector:
    """Per token the mean over heads; both sides `[heads][tokens][keys]`."""
    tokens = range(len(own[0]))
    return [mean([divergence(b[i], a[i]) for a, b in zip(own, other, strict=True)]) for i in tokens]


def naive_minilm(student: Tensor, teacher: Tensor, mask: Tensor) -> Vector:
    """Both sides `[3, batch, heads, length, head width]`: queries, keys, values."""
    values = []
    for text, row in enumerate(mask):
        sides = []
        for side in (student, teacher):
            q, k, v = (side[kind, text][:, row].tolist() for kind in range(3))
            heads = range(len(q))
            sides.append([[_relation(q[h], k[h]) for h in heads], [_relation(v[h], v[h]) for h in heads]])
        attention, relation = (_token_divergences(own, other) for own, other in zip(*sides, strict=True))
        values += [a + b for a, b in zip(attention, relation, strict=True)]
    return values


def naive_minilmv2(
    student: Tensor, teacher: Tensor, mask: Tensor, heads: int, weights: tuple[float, float, float]
) -> Vector:
    """Both sides `[3, batch, heads, length, head width]`: queries, keys, values."""

    def relations(states: Tensor) -> list[list[Vector]]:
        tokens = [[x for head in states[:, token].tolist() for x in head] for token in range(states.shape[1])]
        size = states.shape[0] * states.shape[2] // heads
        split = [[token[part * size : (part + 1) * size] for token in tokens] for part in range(heads)]
        return [_relation(vectors, vectors) for vectors in split]

    values = []
    for text, row in enumerate(mask):
        kinds = [
            _token_divergences(relations(student[kind, text][:, row]), relations(teacher[kind, text][:, row]))
            for kind in range(3)
        ]
        values += [dot(list(weights), list(of_token)) for of_token in zip(*kinds, strict=True)]
    return values


# ---- Relations among texts ----


def naive_rkd_distance(student: Tensor, teacher: Tensor, mask: Tensor) -> Vector:
    texts = places(mask)
    pairs = [(i, j) for i in texts for j in texts if i != j]
    own, other = ([distance(side[i].tolist(), side[j].tolist()) for i, j in pairs] for side in (student, teacher))
    return [huber(a / mean(own), b / mean(other)) for a, b in zip(own, other, strict=True)]


def naive_rkd_angle(student: Tensor, teacher: Tensor, mask: Tensor) -> Vector:
    """Cosines by the law of cosines, from the sides of the triangle."""

    def cosine(side: Tensor, vertex: int, i: int, k: int) -> float:
        near, far, opposite = (
            distance(side[a].tolist(), side[b].tolist()) for a, b in ((vertex, i), (vertex, k), (i, k))
        )
        return (near**2 + far**2 - opposite**2) / (2 * near * far)

    texts = places(mask)
    triples = [(v, i, k) for v in texts for i in texts for k in texts if len({v, i, k}) == 3]
    return [huber(cosine(student, *triple), cosine(teacher, *triple)) for triple in triples]


def naive_similarity_preserving(student: Tensor, teacher: Tensor, mask: Tensor) -> Vector:
    texts, values = places(mask), []
    for i in texts:
        own, other = (unit([dot(side[i].tolist(), side[j].tolist()) for j in texts]) for side in (student, teacher))
        values += [(a - b) ** 2 for a, b in zip(own, other, strict=True)]
    return values
