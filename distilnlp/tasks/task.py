"""What a task is: everything that is particular to one kind of head, in one class."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

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
    """

    name: ClassVar[str]  # as recipes and messages call it
    auto_class: ClassVar[Any]  # loads a teacher or a student of this task
    model_classes: ClassVar[Mapping[Any, Any]]  # the transformers mapping whose models have this head
    pipeline_tag: ClassVar[str]  # the tag of a student's model card, and the `pipeline()` that serves it
    # What the logits of an item are: the scores of classes that exclude one another, one yes-or-no decision, or a
    # number. It decides which response losses fit.
    answer: ClassVar[Answer]
    rows: ClassVar[RowFormat]  # how the rows of a recipe's data look and are tokenised
    evaluation: ClassVar[Scoring]  # how the task is scored
    modality: ClassVar[Modality] = TOKENS  # what its models read, by name
    pipeline_options: ClassVar[str | None] = None  # of `pipeline()`'s call, as code; None = transformers has none
    problem_type: ClassVar[str | None] = None  # what a new head's config is to say; None = nothing
    # The `num_labels` of a new head where neither label names nor the family decide it.
    num_outputs: ClassVar[int | None] = None
    # Whether a saved head does not tell the task: models are published with it to be fine-tuned.
    must_be_named: ClassVar[bool] = False
    # `(rows, length of the batch) -> labels`; None = the labels have other names.
    collate_labels: Callable[[list[Row], int], Tensor] | None = None
    collator_keys: ClassVar[tuple[str, ...]] = ()  # keys of a recipe's `data` section that the collator takes too
    # Columns that the collator or the losses read beside the labels and what the models name.
    loss_inputs: ClassVar[frozenset[str]] = frozenset()
    # Columns of the rows, beside what the models name, that say which logits count.
    item_marks: ClassVar[frozenset[str]] = frozenset()
    items_are_texts: ClassVar[bool] = False  # an item is a whole text or pair: an answer can be given for a row
    # An item is a token or a position, so that both models must split the text alike, or be `aligned_by` a column: that
    # of both encodings by which `align_logits` finds what belongs together, so that the tokens need not be the same.
    items_are_tokens: ClassVar[bool] = False
    aligned_by: ClassVar[str | None] = None
    # The `labels` of a batch say which tokens are items: the logits are those of the drawn tokens of all rows in one,
    # `[count, classes]`.
    draws_its_items: ClassVar[bool] = False
    classes_vary: ClassVar[bool] = False  # every item has classes of its own: positions, choices
    classes_are_tokens: ClassVar[bool] = False  # the classes are the tokens of the vocabulary

    # ---- The head ----

    @property
    def has_label_names(self) -> bool:
        """Whether the config's `id2label` names the classes."""
        return self.rows.has_label_names

    def is_head_of(self, model: nn.Module) -> bool:
        """Whether a model has this head."""
        config = getattr(model, "config", None)
        # Not `in ….values()`: that imports every model of transformers, for seconds.
        return config is not None and self.model_classes.get(type(config), None) is type(model)

    def fits(self, config: PreTrainedConfig) -> bool:
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
        """Return a tokenised data set whose labels mean what the logits mean; objects that are none pass unchanged.

        Args:
            dataset: of the split that messages call `split`.
            label_names: of the student, in the order of its logits; None = it names none.
            num_labels: what `num_classes` says of the student.

        Raises:
            DistillationError: there are labels that this task cannot mean.
        """
        if isinstance(dataset, Dataset):
            self.check_labels(dataset, label_names, num_labels, split)
        return dataset

    def check_labels(self, dataset: Dataset, label_names: Sequence[str] | None, num_labels: int, split: str) -> None:  # noqa: B027
        """Raise a `DistillationError` if this task cannot mean the labels of a data set; see `align_labels`."""

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

        It is for a task whose items are units of the text that both encodings have: the student's `batch`, and the
        teacher's `own`.
        """
        return logits

    def hard_loss(self, logits: Tensor, batch: Batch, num_items: Tensor | int | None) -> Tensor:
        """Return the loss against the labels, a scalar: here, the cross-entropy with one class an item.

        For `num_items` see `distilnlp.losses`; None = the labelled items of the batch.
        """
        labels = self.item_labels(batch)
        assert labels is not None
        return cross_entropy(logits, labels, num_items, self.class_mask(batch))

    @property
    def soft_loss(self) -> Callable[..., Tensor]:
        """The loss against the teacher's logits: T² · KL of the distributions, or the squared error of a score."""
        return logit_mse if self.answer == "score" else forward_kl
