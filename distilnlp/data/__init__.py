"""Data: from what a recipe names to tokenised splits, checked on the way."""

from distilnlp.data.config import DataConfig
from distilnlp.data.folds import assign_folds
from distilnlp.data.parts import Columns, Part, Types, map_in_parts, numbers_of, read_in_parts, spread, values_of
from distilnlp.data.preparation import PreparedData, evaluation_split, fingerprint, prepare_data
from distilnlp.data.row_format import Layout, RowFormat
from distilnlp.data.source_columns import (
    LISTS,
    LabelColumn,
    candidates,
    find_text_columns,
    is_empty,
    is_text,
    is_text_list,
    may_be_label_list,
    require_column,
)
from distilnlp.data.sources import load_source
from distilnlp.data.splits import labelled_rows
from distilnlp.data.two_tokenizers import pair_encodings, require_fast, same_positions, word_numbers, words_of_pieces
from distilnlp.data.written_values import with_columns, with_written_values

__all__ = [
    "LISTS",
    "Columns",
    "DataConfig",
    "LabelColumn",
    "Layout",
    "Part",
    "PreparedData",
    "RowFormat",
    "Types",
    "assign_folds",
    "candidates",
    "evaluation_split",
    "find_text_columns",
    "fingerprint",
    "is_empty",
    "is_text",
    "is_text_list",
    "labelled_rows",
    "load_source",
    "map_in_parts",
    "may_be_label_list",
    "numbers_of",
    "pair_encodings",
    "prepare_data",
    "read_in_parts",
    "require_column",
    "require_fast",
    "same_positions",
    "spread",
    "values_of",
    "with_columns",
    "with_written_values",
    "word_numbers",
    "words_of_pieces",
]
