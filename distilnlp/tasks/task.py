"""What a task is: everything that is particular to one kind of head, in one class."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from distilnlp.data import RowFormat
from distilnlp.losses import cross_entropy, forward_kl, logit_mse
from distilnlp.metrics import Scoring
from distilnlp.signals import TOKENS, Batch, Modality
from distilnlp.tasks.collators import Row, RowCollator

Answer = Literal["categorical", "binary", "score"]
Collate = Callable[[list[Row]], dict[str, Tensor]]


class Task(ABC):
    """What is particular to one kind of head; the trainer and the recipes are written against this alone.

    An *item* is what a loss counts once: a text, a label of a text, a word, an end of an answer, a masked token.

    Attributes:
        name: as recipes and messages call it.
        auto_class: loads a teacher or a student of this task.
        model_classes: the transformers mapping whose models have this head.
        pipeline_tag: the tag of a student's model card, and the `pipeline()` that serves it.
        answer: what the logits of an item are: the scores of classes that exclude one another, one yes-or-no decision,
            or a number. It decides which response losses fit.
        rows: how the rows of a recipe's data look and are tokenised.
        evaluation: how the task is scored.
        modality: what its models read, by name.
        pipeline_options: further arguments of that call, as code; None = transformers has no such pipeline.
        problem_type: what a new head's config is to say; None = nothing.
        num_outputs: the `num_labels` of a new head where neither label names nor the family decide it.
        must_be_named: whether a saved head does not tell the task: models are published with it to be fine-tuned.
        collate_labels: `(rows, length of the batch) -> labels`; None = the labels have other names.
        collator_keys: keys of a recipe's `data` section that the collator takes too.
        loss_inputs: columns that the collator or the losses read beside the labels and what the models name.
        item_marks: columns of the rows, beside what the models name, that say which logits count.
        items_are_texts: whether an item is a whole text or pair, so that an answer can be given for a row.
        items_are_tokens: whether an item is a token or a position, so that both models must split the text alike,
            or be `aligned_by` a column.
        aligned_by: the column of both encodings by which `align_logits` finds what belongs together, so that the tokens
            need not be the same; None = there is none.
        draws_its_items: whether the `labels` of a batch say which tokens are items: logits are those of the drawn
            tokens alone, `[count, classes]`, all rows' in one.
        classes_vary: whether every item has classes of its own (positions, choices).
        classes_are_tokens: whether the classes are the tokens of the vocabulary.
    """

    name: ClassVar[str]
    auto_class: ClassVar[Any]
    model_classes: ClassVar[Mapping[Any, Any]]
    pipeline_tag: ClassVar[str]
    answer: ClassVar[Answer]
    rows: ClassVar[RowFormat]
    evaluation: ClassVar[Scoring]
    modality: ClassVar[Modality] = TOKENS
    pipeline_options: ClassVar[str | None] = None
    problem_type: ClassVar[str | None] = None
    num_outputs: ClassVar[int | None] = None
    must_be_named: ClassVar[bool] = False
    collate_labels: Callable[[list[Row], int], Tensor] | None = None
    collator_keys: ClassVar[tuple[str, ...]] = ()
    loss_inputs: ClassVar[frozenset[str]] = frozenset()
    item_marks: ClassVar[frozenset[str]] = frozenset()
    items_are_texts: ClassVar[bool] = False
    items_are_tokens: ClassVar[bool] = False
    aligned_by: ClassVar[str | None] = None
    draws_its_items: ClassVar[bool] = False
    classes_vary: ClassVar[bool] = False
    classes_are_tokens: ClassVar[bool] = False

    # ---- The head ----

    @property
    def has_label_names(self) -> bool:
        """Whether the config's `id2label` names the classes."""
        return self.rows.has_label_names

    def is_head_of(self, model: nn.Module) -> bool:
        """Whether a model has this head."""
        config: Any = getattr(model, "config", None)
        # Not `in ….values()`: that imports every model of transformers, for seconds.
        return config is not None and self.model_classes.get(type(config), None) is type(model)

    def fits(self, config: Any) -> bool:
        """Whether the config of a model with this head means this task."""
        return True

    def num_classes(self, config: Any) -> int:
        """Return the width of the logits where that is fixed, else 0."""
        return config.num_labels

    def head_width(self, config: Any) -> int:
        """Return the number of outputs of the head's last layer."""
        return self.num_classes(config)

    def head_positions(self, batch: Batch) -> Tensor | None:
        """Bool `[batch, length]`: the only tokens that the head must run on; None = all."""
        return None

    def read_logits(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the logits, from the outputs of a transformers model."""
        return outputs.logits

    def as_outputs(self, logits: Tensor) -> dict[str, Tensor]:
        """Return, by name, the outputs of a transformers model from which these logits are read."""
        return {"logits": logits}

    # ---- Batches ----

    def collator(self, tokenizer: PreTrainedTokenizerBase | None) -> Collate:
        """Return `(rows) -> batch`, which pads tokenised rows and makes tensors of them and of their labels.

        The tokenizer pads; None for rows that have one length already. A task with `collator_keys` takes these too.
        """
        return RowCollator(tokenizer, self.collate_labels)

    def align_labels(self, dataset: Any, label_names: Sequence[str] | None, num_labels: int, split: str) -> Any:
        """Return a data set whose labels mean what the logits mean; objects that are none pass unchanged.

        Args:
            dataset: tokenised rows.
            label_names: of the student, in the order of its logits; None = it names none.
            num_labels: what `num_classes` says of the student.
            split: whose rows they are, for messages.

        Raises:
            DistillationError: there are labels that this task cannot mean.
        """
        return dataset

    def texts_a_row(self, dataset: Any, column: str = TOKENS.values) -> int:
        """Return how many texts a row has at most, by a column that has an entry for each."""
        return 1

    def row_shape(self, length: int) -> tuple[int, ...]:
        """Return the shape, in a batch, of a row of one text of so many tokens."""
        return (length,)

    # ---- Items and losses ----

    @abstractmethod
    def valid_items(self, batch: Batch) -> Tensor:
        """Bool `[*items]`: which items of a batch the soft loss counts."""

    @abstractmethod
    def labelled_items(self, batch: Batch) -> Tensor:
        """Bool `[*items]`: which items of a batch have a label."""

    def item_labels(self, batch: Batch) -> Tensor | None:
        """Class ids `[*items]`, -100 = none; None where the answer is not categorical, or there are no labels."""
        return batch.get("labels") if self.answer == "categorical" else None

    def item_logits(self, logits: Tensor) -> Tensor:
        """Return the logits as `[*items, classes]`, for the response losses."""
        return logits

    def class_mask(self, batch: Batch) -> Tensor | None:
        """Bool `[*items, classes]`: which classes exist for an item; None = all of them."""
        return None

    def align_logits(self, logits: Tensor, batch: Batch, own: Batch) -> Tensor:
        """Return logits that a teacher gave in its own encoding of the text where the student's encoding has them.

        It is for a task whose items are units of the text that both encodings have.

        Args:
            logits: the teacher's.
            batch: as the student reads it.
            own: as the teacher does.
        """
        return logits

    def hard_loss(self, logits: Tensor, batch: Batch, num_items: Tensor | int | None) -> Tensor:
        """Return the loss against the labels, a scalar: here, the cross-entropy with one class an item.

        Args:
            logits: as `read_logits` gives them.
            batch: with labels.
            num_items: see `distilnlp.losses`; None = the labelled items of the batch.
        """
        labels = self.item_labels(batch)
        assert labels is not None
        return cross_entropy(logits, labels, num_items, self.class_mask(batch))

    @property
    def soft_loss(self) -> Callable[..., Tensor]:
        """The loss against the teacher's logits: T² · KL of the distributions, or the squared error of a score."""
        return logit_mse if self.answer == "score" else forward_kl
