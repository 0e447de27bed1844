"""What a task is: everything that is particular to one kind of head, in one entry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from distilnlp.data import RowFormat
from distilnlp.losses import forward_kl, logit_mse
from distilnlp.metrics import Scoring
from distilnlp.signals import Batch

Answer = Literal["categorical", "binary", "score"]
Collate = Callable[[list[dict[str, Any]]], dict[str, Tensor]]


@dataclass(frozen=True)
class Task:
    """What is particular to one kind of head; the trainer and the recipes are written against this alone.

    An *item* is what a loss counts once: a text, a label of a text, a word, an end of an answer, a masked token.

    Attributes:
        name: as recipes and messages call it.
        pipeline_tag: the `pipeline()` that a student of this task is served by.
        auto_class: loads a teacher or a student of this task.
        model_classes: the transformers mapping whose models have this head.
        fits: whether a config of such a model means this task.
        problem_type: what a new head's config is to say; None = nothing.
        num_outputs: the `num_labels` of a new head where neither label names nor the family decide it.
        answer: what the logits of an item are: the scores of classes that exclude one another, one yes-or-no decision,
            or a number. It decides which response losses fit.
        rows: how the rows of a recipe's data look and are tokenised.
        evaluation: how the task is scored.
        collator: `(tokenizer) -> collate`: makes batches of tokenised rows, labels under `labels` (question answering:
            as its models name them).
        hard_loss: `(logits, batch, num_items) -> scalar`.
        labelled_items: which items of a batch have a label, bool `[*items]`.
        valid_items: which items of a batch the soft loss counts, bool `[*items]`.
        read_logits: `(outputs, batch) -> logits`, from the outputs of a transformers model.
        item_logits: the logits as `[*items, classes]`, for the response losses.
        class_mask: which classes exist for an item, bool `[*items, classes]`; None = all of them.
        item_labels: `(batch) -> [*items]` class ids, -100 = none; None where the answer is not categorical.
        head_positions: bool `[batch, length]`: the only tokens that the head must run on; None = all.
        loss_inputs: columns that the collator or the losses read beside the labels and what the models name.
        num_classes: `(config) -> ` the width of the logits where that is fixed, else 0.
        classes_vary: whether every item has classes of its own (positions, choices).
        items_are_tokens: whether an item is a token or a position, so that both models must split the text alike,
            or be `aligned_by` a column.
        align_logits: `(logits, batch, own)`: what a teacher gave in its own encoding of the text, where the student's
            has it. It is for a task whose items are units of the text that both encodings have.
        aligned_by: the column of both encodings by which `align_logits` finds what belongs together, so that the tokens
            need not be the same; None = there is none.
        has_label_names: whether the config's `id2label` names the classes.
        collator_keys: keys of a recipe's `data` section that the collator takes too.
        align_labels: `(dataset, label_names, num_labels, split) -> dataset` whose labels mean what the logits mean;
            raises for labels that this task cannot mean. `num_labels` is what `num_classes` says of the student.
    """

    name: str
    pipeline_tag: str
    auto_class: Any
    model_classes: Mapping[Any, Any]
    fits: Callable[[Any], bool]
    answer: Answer
    rows: RowFormat
    evaluation: Scoring
    collator: Callable[..., Collate]
    hard_loss: Callable[[Tensor, Batch, Tensor | int | None], Tensor]
    labelled_items: Callable[[Batch], Tensor]
    valid_items: Callable[[Batch], Tensor]
    read_logits: Callable[[Any, Batch], Tensor] = lambda outputs, batch: outputs.logits
    item_logits: Callable[[Tensor], Tensor] = lambda logits: logits
    class_mask: Callable[[Batch], Tensor | None] = lambda batch: None
    item_labels: Callable[[Batch], Tensor | None] = lambda batch: None
    head_positions: Callable[[Batch], Tensor] | None = None
    loss_inputs: frozenset[str] = frozenset()
    problem_type: str | None = None
    num_outputs: int | None = None
    classes_vary: bool = False
    items_are_tokens: bool = False
    aligned_by: str | None = None
    num_classes: Callable[[Any], int] = lambda config: config.num_labels
    align_logits: Callable[[Tensor, Batch, Batch], Tensor] = lambda logits, batch, own: logits
    has_label_names: bool = True
    collator_keys: tuple[str, ...] = ()
    align_labels: Callable[[Any, Sequence[str] | None, int, str], Any] = lambda dataset, names, num_labels, split: (
        dataset
    )

    @property
    def soft_loss(self) -> Callable[..., Tensor]:
        """The loss against the teacher's logits: T² · KL of the distributions, or the squared error of a score."""
        return logit_mse if self.answer == "score" else forward_kl


def every_row(batch: Batch) -> Tensor:
    """Bool `[batch]`, all True: a whole row is one item."""
    first = next(iter(batch.values()))
    return torch.ones(first.shape[0], dtype=torch.bool, device=first.device)


def no_row(batch: Batch) -> Tensor:
    """Bool `[batch]`, all False."""
    return ~every_row(batch)
