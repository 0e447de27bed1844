"""The `data` section of a recipe."""

from typing import Any

from pydantic import Field, field_validator

from distilnlp.validation import Section


class DataConfig(Section):
    """Where the text is, which columns matter, and how it is split."""

    source: str | dict[str, str | list[str]] = Field(
        description="a Hub id, a local folder, a file (CSV, TSV, JSON lines, Parquet, plain text), a Python function "
        "`package.module:function` or `file.py:function` that returns a DatasetDict, or {split: file or files}"
    )
    config: str | None = Field(default=None, description="configuration of a Hub data set, such as sst2 of glue")
    train_split: str = Field(default="train", description="split to train on")
    test_split: str | None = Field(
        default=None,
        description="split to evaluate on; null = `test` if its rows have labels, else `validation`, else `test_size` "
        "of the labelled training rows",
    )
    validation_split: str | None = Field(
        default=None, description="split for evaluation during training, where the training section asks for it"
    )
    test_size: float = Field(
        default=0.2, gt=0, lt=1, description="share of the labelled rows held out where there is no test split"
    )
    unlabelled: list[str] = Field(
        default_factory=list, description="further sources whose rows are a transfer set: text without labels"
    )
    text_columns: list[str] | None = Field(
        default=None, min_length=1, max_length=2, description="one or two text columns; null = the only text column"
    )
    label_column: str = Field(default="label", description="column of the labels; null or -100 marks a row without")
    label_names: list[str] | None = Field(
        default=None, description="names of the label ids 0, 1, …, where the data holds bare ids"
    )
    max_length: int = Field(default=256, ge=2, description="texts are cut after this many tokens")
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of the held-out share")

    @field_validator("text_columns", "label_names")
    @classmethod
    def _no_repeats(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("every name may be given once")
        return value

    @field_validator("text_columns", "unlabelled", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value
