"""Data: from what a recipe names to tokenised splits, checked on the way."""

from distilnlp.data.choices import CHOICE_ROWS
from distilnlp.data.config import DataConfig
from distilnlp.data.folds import FOLD, NO_FOLD, assign_folds
from distilnlp.data.masked import MASKED_LM_ROWS
from distilnlp.data.multi_label import MULTI_LABEL_ROWS
from distilnlp.data.pairs import pair_encodings, same_positions
from distilnlp.data.preparation import PreparedData, evaluation_split, fingerprint, labelled_rows, prepare_data
from distilnlp.data.questions import QUESTION_ROWS
from distilnlp.data.rows import RowFormat
from distilnlp.data.sequence import REGRESSION_ROWS, SINGLE_LABEL_ROWS
from distilnlp.data.sources import load_source
from distilnlp.data.tokens import TOKEN_ROWS
from distilnlp.data.windows import shown_windows
from distilnlp.data.words import word_numbers

__all__ = [
    "CHOICE_ROWS",
    "FOLD",
    "MASKED_LM_ROWS",
    "MULTI_LABEL_ROWS",
    "NO_FOLD",
    "QUESTION_ROWS",
    "REGRESSION_ROWS",
    "SINGLE_LABEL_ROWS",
    "TOKEN_ROWS",
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
    "shown_windows",
    "word_numbers",
]
