"""A teacher's answers on disk: written once, found again by the content of each row."""

from distilnlp.answers.cached_teacher import CachedTeacher
from distilnlp.answers.manifest import Manifest, read_manifest
from distilnlp.answers.store import AnswerStore, damaged_shards
from distilnlp.answers.writing import (
    DTYPES,
    CacheSettings,
    CacheWriter,
    DiskFullError,
    NoSpaceError,
    check_cache_folder,
    check_request,
    key_columns,
)

__all__ = [
    "DTYPES",
    "AnswerStore",
    "CacheSettings",
    "CacheWriter",
    "CachedTeacher",
    "DiskFullError",
    "Manifest",
    "NoSpaceError",
    "check_cache_folder",
    "check_request",
    "damaged_shards",
    "key_columns",
    "read_manifest",
]
