"""Data: from what a recipe names to tokenised splits, checked on the way."""

from distilnlp.data.config import DataConfig
from distilnlp.data.preparation import PreparedData, evaluation_split, fingerprint, prepare_data
from distilnlp.data.row_format import Layout, RowFormat
from distilnlp.data.sources import load_source
from distilnlp.data.splits import assign_folds, labelled_rows
from distilnlp.data.two_tokenizers import pair_encodings, same_positions, word_numbers

__all__ = [
    "DataConfig",
    "Layout",
    "PreparedData",
    "RowFormat",
    "assign_folds",
    "evaluation_split",
    "fingerprint",
    "labelled_rows",
    "load_source",
    "pair_encodings",
    "prepare_data",
    "same_positions",
    "word_numbers",
]
