"""What a column of a data set holds, by its type."""

from typing import Any

from datasets import ClassLabel, LargeList, List, Value


def is_text(feature: Any) -> bool:
    """Whether a column holds text."""
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def is_list(feature: Any) -> bool:
    """Whether a column holds lists."""
    return isinstance(feature, List | LargeList)


def is_text_list(feature: Any) -> bool:
    """Whether a column holds lists of texts."""
    return is_list(feature) and is_text(feature.feature)


def is_empty(feature: Any) -> bool:
    """Whether a column holds nothing but nulls, so that its type is unknown: it fits every task."""
    return isinstance(feature, Value) and feature.dtype == "null"


def may_be_label(feature: Any) -> bool:
    """Whether a column holds single values."""
    return isinstance(feature, ClassLabel | Value)


def may_be_label_list(feature: Any) -> bool:
    """Whether a column holds lists of single values, or nothing."""
    return is_empty(feature) or (is_list(feature) and may_be_label(feature.feature))


def innermost(feature: Any) -> Any:
    """Return the type of one entry of a column's lists, at any depth; of a column without lists its own."""
    while is_list(feature):
        feature = feature.feature
    return feature
