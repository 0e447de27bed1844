"""What another tokenizer makes of the windows of a context, so that student and teacher read the same part of it."""

import numpy as np
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase

from distilnlp.data import Columns, map_in_parts, require_fast, values_of, words_of_pieces
from distilnlp.errors import DistillationError
from distilnlp.signals import CONTEXT, END, EXAMPLE, FOLD, OFFSETS, QUESTION, START, WORD_IDS


def same_windows(student_rows: Dataset, teacher_rows: Dataset) -> bool:
    """Whether two tokenizers made windows of the same tokens, with the same answers."""
    names = (EXAMPLE, "length", START, END, "context_mask")
    both = zip(values_of(student_rows, *names), values_of(teacher_rows, *names), strict=False)
    return len(student_rows) == len(teacher_rows) and all(own == other for own, other in both)


def shown_windows(windows: Dataset, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return for each window the question and the part of the context that it shows, by another tokenizer.

    Nothing is cut, so that the rows pair one to one. They have `context_mask`, `offsets` in the whole context and
    `word_ids`, and no labels.

    Args:
        windows: tokenised rows with `offsets`.
        rows: the normalised rows that they were made of.
        tokenizer, max_length: of the other model, which must have room for every window.
    """
    require_fast(tokenizer, "question answering")
    texts = rows.select_columns([QUESTION, CONTEXT]).select(windows[EXAMPLE])
    kept = [name for name in (EXAMPLE, FOLD) if name in windows.column_names]
    both = concatenate_datasets([texts, windows.select_columns([*kept, OFFSETS, "context_mask"])], axis=1)

    def encode(batch: Columns) -> Columns:
        begins, parts = zip(*map(_shown, batch[CONTEXT], batch[OFFSETS]), strict=True)
        encoded = tokenizer(batch[QUESTION], list(parts))
        longest = max(map(len, encoded["input_ids"]))
        if longest > max_length:
            raise DistillationError(
                f"question_answering: the teacher reads what each window of the student's shows, and its tokenizer "
                f"makes {longest} tokens of one, but it may read {max_length}. Lower data.max_length, or raise "
                "teacher.max_length if it is set."
            )
        columns: Columns = {"context_mask": [], OFFSETS: [], WORD_IDS: []}
        given = zip(batch[QUESTION], batch[CONTEXT], batch["context_mask"], strict=True)
        for one, begin, (*texts, marks) in zip(encoded.encodings, begins, given, strict=True):
            is_context = np.asarray([part == 1 for part in one.sequence_ids], dtype=np.int32)
            offsets = np.asarray(one.offsets, dtype=np.int32) + begin * is_context[:, None]
            mask = is_context.astype(np.int8)
            mask[0] = marks[0]  # whether there may be no answer
            columns["context_mask"].append(mask)
            columns[OFFSETS].append(offsets * is_context[:, None])
            columns[WORD_IDS].append(words_of_pieces(offsets, one.sequence_ids, texts))
        return {**encoded, **columns, "length": [len(mask) for mask in columns["context_mask"]]}

    return map_in_parts(both, encode, remove_columns=[QUESTION, CONTEXT], desc="Tokenising the teacher's windows")


def _shown(context: str, offsets: list[list[int]]) -> tuple[int, str]:
    """Return where the part of a context begins that a window shows, and the part, with the white space before it.

    Tokenizers that join a word and the space before it then read the first word as they do inside a text.
    """
    spans = [(start, end) for start, end in offsets if end > start]
    if not spans:
        return 0, ""
    begin = len(context[: min(start for start, _ in spans)].rstrip())
    return begin, context[begin : max(end for _, end in spans)]
