"""Extractive question answering: the start and the end of an answer are two items, their classes the positions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import MODEL_FOR_QUESTION_ANSWERING_MAPPING, AutoModelForQuestionAnswering, PreTrainedConfig

from distilnlp.errors import DistillationError
from distilnlp.losses import cross_entropy
from distilnlp.losses.reduction import at_least_float32
from distilnlp.signals import END, LABEL_COLUMNS, NO_LABEL, OFFSETS, START, TOKENS, Batch, token_mask
from distilnlp.tasks.collators import ENDS
from distilnlp.tasks.column_checks import IDS, check_marks, columns_of, is_tokenised, require_type
from distilnlp.tasks.question_answering.rows import QUESTION_ROWS
from distilnlp.tasks.question_answering.scores import QUESTION_EVALUATION
from distilnlp.tasks.task import Task
from distilnlp.tasks.whole_rows import every_row

NOTHING = 20.0  # a logit: finite, so that every loss is, and next to no probability


class QuestionAnswering(Task):
    """A start and an end a window; labels are the positions of both, `[batch]` each, -100 = none."""

    name = "question_answering"
    auto_class = AutoModelForQuestionAnswering
    model_classes = MODEL_FOR_QUESTION_ANSWERING_MAPPING
    pipeline_tag = "question-answering"
    answer = "categorical"
    rows = QUESTION_ROWS
    evaluation = QUESTION_EVALUATION
    num_outputs = 2
    loss_inputs = item_marks = frozenset({"context_mask"})
    items_are_tokens = True
    aligned_by = OFFSETS
    classes_vary = True

    def fits(self, config: PreTrainedConfig) -> bool:
        return config.num_labels == 2

    def read_logits(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the logits `[batch, 2, length]`."""
        return torch.stack([outputs.start_logits, outputs.end_logits], dim=1)

    def as_outputs(self, logits: Tensor) -> dict[str, Tensor]:
        return {"start_logits": logits[:, 0], "end_logits": logits[:, 1]}

    def check_labels(self, dataset: Dataset, label_names: Sequence[str] | None, num_labels: int, split: str) -> None:
        """Refuse answers that are not a start and an end among the row's tokens."""
        if not is_tokenised(dataset):
            return
        check_marks(dataset, "context_mask", split)
        ends = [name for name in ENDS if name in dataset.column_names]
        answers = [name for name in ("answers", *LABEL_COLUMNS) if name in dataset.column_names]
        if len(ends) == 1 or (answers and not ends):
            raise DistillationError(
                f"the {split} data must hold the answers as two columns, {' and '.join(ENDS)}, but it has "
                f"{ends or answers}. Write the indices of each answer's first and last token there, or remove the "
                "column."
            )
        if ends:
            _check_positions(dataset, split)

    def valid_items(self, batch: Batch) -> Tensor:
        """Bool `[batch, 2]`: every window that shows some context."""
        if TOKENS.values not in batch:
            return ~every_row(batch)
        return context(batch).any(dim=-1, keepdim=True).expand(-1, 2)

    def labelled_items(self, batch: Batch) -> Tensor:
        """Bool `[batch, 2]`: ends that are known, and in the text."""
        return self.item_labels(batch) != NO_LABEL

    def item_labels(self, batch: Batch) -> Tensor:
        """Positions of start and end `[batch, 2]`; -100 where the answer is unknown or beyond the text."""
        if START not in batch:
            return torch.full_like(torch.stack([every_row(batch)] * 2, dim=-1), NO_LABEL, dtype=torch.long)
        ends = torch.stack([batch[START], batch[END]], dim=-1)
        mask = token_mask(batch)
        known = (ends >= 0) & (ends < mask.shape[-1])
        is_token = mask.gather(-1, ends.clamp(0, mask.shape[-1] - 1))
        return ends.masked_fill(~(known & is_token), NO_LABEL)

    def class_mask(self, batch: Batch) -> Tensor:
        """Bool `[batch, 2, length]`: the positions of the context."""
        return both_ends(context(batch))

    def hard_loss(self, logits: Tensor, batch: Batch, num_items: Tensor | int | None) -> Tensor:
        # Over the real tokens: position 0 stands for "not in this window", and padding must not matter.
        return cross_entropy(logits, self.item_labels(batch), num_items, both_ends(token_mask(batch)))

    def align_logits(self, logits: Tensor, batch: Batch, own: Batch) -> Tensor:
        """Return logits that a teacher gave at its own pieces at the student's, by the characters of the context.

        The probability that the answer starts at a teacher's piece goes to the student's piece that holds its first
        character, or to the first one after it; that it ends there, to the one that holds its last character, or to the
        last one before it. What several bring adds up. A piece that gets nothing is `NOTHING` below the least likely of
        the teacher's. The first token, where it stands for no answer, is the same in both. Rows without `offsets` have
        the same tokens.
        """
        if OFFSETS not in batch or OFFSETS not in own:
            return logits
        (starts, ends), is_piece = _spans(batch)
        (first, last), is_its = _spans(own)
        # Sorted from end to end: what is no piece takes the place of the piece before or after it.
        ends = ends.masked_fill(~is_piece, 0).cummax(dim=-1).values
        starts = starts.masked_fill(~is_piece, torch.iinfo(starts.dtype).max).flip(-1).cummin(dim=-1).values.flip(-1)
        places = torch.stack(
            [torch.searchsorted(ends, first, right=True), torch.searchsorted(starts, last) - 1], dim=1
        )  # [batch, 2, teacher's length]
        length = is_piece.shape[-1]
        counts = both_ends(is_its) & (places >= 0) & (places < length)
        may_lack = context(batch)[:, 0] & ~is_piece[:, 0] & context(own)[:, 0] & ~is_its[:, 0]
        counts[:, :, 0] |= may_lack[:, None]
        places[:, :, 0] = places[:, :, 0].masked_fill(may_lack[:, None], 0)
        return _gathered(at_least_float32(logits), places.clamp(0, length - 1), counts, length)


def context(batch: Batch) -> Tensor:
    """Bool `[batch, length]`: where an answer can be, or say that there is none.

    Rows without `context_mask` count every real token.
    """
    return batch["context_mask"].bool() if "context_mask" in batch else token_mask(batch)


def both_ends(mask: Tensor) -> Tensor:
    """Bool `[batch, length]` to `[batch, 2, length]`: start and end have the same positions to choose from."""
    return mask.unsqueeze(1).expand(-1, 2, -1)


def _spans(batch: Batch) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the first character of each piece, the one after its last, and which pieces stand for some context."""
    starts, ends = (part.contiguous() for part in batch[OFFSETS].unbind(dim=-1))
    return (starts, ends), context(batch) & (ends > starts)


def _gathered(logits: Tensor, places: Tensor, counts: Tensor, length: int) -> Tensor:
    """Return `[..., length]`: at each place the logsumexp of the logits that have it, of those that count."""
    scores = logits.masked_fill(~counts, -torch.inf)
    empty = logits.new_zeros(*logits.shape[:-1], length)
    has_any = empty.scatter_add(-1, places, counts.to(empty.dtype)) > 0
    highest = (empty - torch.inf).scatter_reduce(-1, places, scores, "amax")
    shares = (scores - highest.gather(-1, places)).masked_fill(~counts, -torch.inf).exp()
    totals = highest + empty.scatter_add(-1, places, shares).log()
    least = logits.masked_fill(~counts, torch.inf).amin(dim=-1, keepdim=True)
    floor = least.masked_fill(least.isinf(), 0) - NOTHING
    return torch.where(has_any, totals, floor)


def _check_positions(dataset: Dataset, split: str) -> None:
    expected = f"indices of tokens, or {NO_LABEL} or null for a row without an answer"
    require_type(dataset, TOKENS.values, IDS, "the ids of a row's tokens", split, depth=1, may_be_null=False)
    for name in ENDS:
        require_type(dataset, name, IDS, expected, split)
    for batch in columns_of(dataset, TOKENS.values, *ENDS):
        first, last = (batch[name].cast(pa.int64()).fill_null(NO_LABEL).to_numpy() for name in ENDS)
        lengths = pc.list_value_length(batch[TOKENS.values]).fill_null(0).to_numpy()
        unknown = (first == NO_LABEL) & (last == NO_LABEL)
        wrong = np.flatnonzero(~unknown & ~((first >= 0) & (first <= last) & (last < lengths)))
        if len(wrong):
            row = wrong[0]
            raise DistillationError(
                f"{' and '.join(ENDS)} of the {split} data must hold {expected}, the end not before the start, but a "
                f"row of {lengths[row]} tokens has {first[row]} and {last[row]}. Give a row that does not hold its "
                "whole answer 0 and 0."
            )


QUESTION_ANSWERING = QuestionAnswering()
