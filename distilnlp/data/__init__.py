"""Data: from what a recipe names to tokenised splits, checked on the way."""

from distilnlp.data.config import DataConfig
from distilnlp.data.folds import assign_folds
from distilnlp.data.pairs import pair_encodings, same_positions
from distilnlp.data.preparation import PreparedData, evaluation_split, fingerprint, labelled_rows, prepare_data
from distilnlp.data.rows import RowFormat
from distilnlp.data.sources import load_source
from distilnlp.data.words import word_numbers

__all__ = [
    "DataConfig",
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
