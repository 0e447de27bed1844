"""Data: from what a recipe names to tokenised splits, checked on the way."""

from distilnlp.data.config import DataConfig
from distilnlp.data.preparation import (
    PreparedData,
    evaluation_split,
    fingerprint,
    labelled_rows,
    prepare_data,
    tokenise,
)
from distilnlp.data.sources import load_source

__all__ = [
    "DataConfig",
    "PreparedData",
    "evaluation_split",
    "fingerprint",
    "labelled_rows",
    "load_source",
    "prepare_data",
    "tokenise",
]
