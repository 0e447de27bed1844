"""Layer mappings: pairs of (student, teacher) hidden-state indices, 0 = embeddings."""

import math
from collections.abc import Sequence

from distilnlp.errors import DistillationError, did_you_mean

LayerMapping = list[tuple[int, int]]
LEARNED = "learned"


def resolve_layer_mapping(
    mapping: str | Sequence[Sequence[int]], student_states: int, teacher_states: int
) -> LayerMapping:
    """Turn a named strategy into pairs, or check pairs that were given.

    Args:
        mapping: pairs, or a strategy for the student's layers 1…L: `uniform` spreads them evenly so that the last maps
            to the last, `first` maps layer i to layer i, `last` maps them to the teacher's last L layers. The
            strategies leave out the embeddings (index 0); give pairs to include them.
        student_states: number of the student's hidden states (layers + 1); 0 for a student that gives none.
        teacher_states: number of the teacher's hidden states; 0 for a teacher that gives none.

    Raises:
        DistillationError: one gives no hidden states, the strategy is unknown, or an index is out of range.
    """
    for owner, states in (("student", student_states), ("teacher", teacher_states)):
        if states == 0:
            others = "an ensemble, a teacher of your own, " if owner == "teacher" else ""
            raise DistillationError(
                f"a loss on layers needs a {owner} that gives hidden states, one of each token from every layer, but "
                f"this one gives only logits ({others}a model with a decoder, such as T5 and BART, or one that pools "
                f"its tokens, such as Funnel, CANINE and Perceiver). Use one live encoder as {owner}, or losses on "
                "logits."
            )
    if isinstance(mapping, str):
        return _mapping_by_name(mapping, student_states - 1, teacher_states - 1)
    if not mapping:
        raise DistillationError("layer_mapping is empty: give at least one (student, teacher) pair, or a strategy.")
    for student, teacher in mapping:
        for owner, index, count in (("student", student, student_states), ("teacher", teacher, teacher_states)):
            if not 0 <= index < count:
                raise DistillationError(
                    f"layer_mapping pair ({student}, {teacher}): the {owner}'s index must be between 0 (embeddings) "
                    f"and {count - 1} (its last layer), but it is {index}."
                )
    return [(student, teacher) for student, teacher in mapping]


def like_to_like(mapping: LayerMapping, student_windows: Sequence[int], teacher_windows: Sequence[int]) -> LayerMapping:
    """Return the pairs with each of the student's layers beside the nearest teacher layer of its kind, local or global.

    Where the teacher has no layer of a kind, the pair stays. The pairs are without the embeddings; the windows are how
    many tokens each layer's attention sees, 0 = the whole text; empty = all see it.
    """

    def is_local(windows: Sequence[int], layer: int) -> bool:
        return bool(windows) and windows[layer - 1] > 0

    def nearest(own: int, other: int) -> int:
        kind, layers = is_local(student_windows, own), range(1, len(teacher_windows) + 1)
        alike = [layer for layer in layers if is_local(teacher_windows, layer) == kind]
        return min(alike, key=lambda layer: (abs(layer - other), layer), default=other)

    return [(own, nearest(own, other)) for own, other in mapping]


def _mapping_by_name(strategy: str, student_layers: int, teacher_layers: int) -> LayerMapping:
    offset = max(teacher_layers - student_layers, 0)
    by_name = {
        "uniform": lambda layer: max(1, math.floor(layer * teacher_layers / student_layers + 0.5)),
        "first": lambda layer: min(layer, teacher_layers),
        "last": lambda layer: min(layer + offset, teacher_layers),
    }
    if strategy not in by_name:
        raise DistillationError(
            f"layer_mapping must be pairs of (student, teacher) hidden-state indices or one of {sorted(by_name)}, but "
            f"it is {strategy!r}.{did_you_mean(strategy, by_name)}"
        )
    return [(layer, by_name[strategy](layer)) for layer in range(1, student_layers + 1)]
