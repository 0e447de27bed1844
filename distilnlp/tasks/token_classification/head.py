"""Token classification: a word is an item, and its first piece stands for it."""

from collections.abc import Sequence

import torch
from datasets import Dataset
from torch import Tensor
from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, AutoModelForTokenClassification, PreTrainedConfig

from distilnlp.errors import DistillationError
from distilnlp.labels import label_column
from distilnlp.signals import NO_LABEL, Batch, token_mask
from distilnlp.tasks.collators import token_labels
from distilnlp.tasks.column_checks import check_marks, check_token_labels, is_tokenised
from distilnlp.tasks.task import Task
from distilnlp.tasks.token_classification.rows import TOKEN_ROWS
from distilnlp.tasks.token_classification.scores import TOKEN_EVALUATION


class TokenClassification(Task):
    """A tag a word; labels are tag ids `[batch, length]` at the first pieces, -100 = none."""

    name = "token_classification"
    auto_class = AutoModelForTokenClassification
    model_classes = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    pipeline_tag = "token-classification"
    answer = "categorical"
    rows = TOKEN_ROWS
    collate_labels = staticmethod(token_labels)
    evaluation = TOKEN_EVALUATION
    pipeline_options = 'aggregation_strategy="simple"'
    loss_inputs = item_marks = frozenset({"word_starts"})

    def fits(self, config: PreTrainedConfig) -> bool:
        return self.num_classes(config) > 1

    def check_labels(self, dataset: Dataset, label_names: Sequence[str] | None, num_labels: int, split: str) -> None:
        """Refuse label ids that are none of the model's, and rows whose labels are not one a token."""
        if not is_tokenised(dataset):
            return
        check_marks(dataset, "word_starts", split)
        column = label_column(dataset)
        if column is None:
            return
        own = getattr(getattr(dataset.features[column], "feature", None), "names", None)
        if own and label_names and list(own) != list(label_names):
            raise DistillationError(
                f"the tags of the {split} data are {own}, but the student's are {list(label_names)}: their ids mean "
                "other tags. Encode the tags in the order of the student's id2label."
            )
        fix = "Give the first piece of each word its tag, in the order of the model's id2label, and the others -100."
        check_token_labels(dataset, column, num_labels, split, fix)

    def valid_items(self, batch: Batch) -> Tensor:
        """Bool `[batch, length]`: True at the first piece of every word, whether it has a label or not.

        Rows that come without `word_starts` count the pieces with a label, or every real token if they have no label.
        """
        if "word_starts" in batch:
            return batch["word_starts"].bool()
        labelled = self.labelled_items(batch)
        return torch.where(labelled.any(dim=-1, keepdim=True), labelled, token_mask(batch))

    def labelled_items(self, batch: Batch) -> Tensor:
        """Bool `[batch, length]`: True at the pieces that have a label."""
        if "labels" not in batch:
            return torch.zeros_like(token_mask(batch))
        return batch["labels"] != NO_LABEL

    def align_logits(self, logits: Tensor, batch: Batch, own: Batch) -> Tensor:
        """Return logits that a teacher gave in its own pieces at the student's: word k at the start of word k."""
        mine, its = self.valid_items(batch), self.valid_items(own)
        counts = mine.sum(dim=-1), its.sum(dim=-1)
        if not torch.equal(*counts):
            row = int((counts[0] != counts[1]).nonzero()[0])
            raise DistillationError(
                f"student and teacher must read the same words, but a row has {counts[0][row]} for the student and "
                f"{counts[1][row]} for the teacher. Mark the first piece of each word as word_starts in both "
                "encodings, and leave out words that only one of them has room for (pair_encodings does)."
            )
        aligned = logits.new_zeros(*mine.shape, logits.shape[-1])
        aligned[mine] = logits[its]
        return aligned


TOKEN_CLASSIFICATION = TokenClassification()
