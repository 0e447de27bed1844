"""The `data` section of a recipe."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from distilnlp.data.plain_copies import FileForm
from distilnlp.validation import ONE_OR_MORE, PathOrName, Section, one_message

SPLIT_KEYS = ("train_split", "validation_split", "test_split")
# What splits are called where the keys do not say it.
USUAL_SPLITS = {"test": ("test",), "validation": ("validation", "valid", "val", "dev", "eval")}


def _as_character(value: str | None) -> str | None:
    character = {"tab": "\t", "\\t": "\t"}.get(value or "", value)
    if character is not None and len(character) != 1:
        raise ValueError("must be one character, or tab")
    return character


class DataConfig(Section):
    """Where the text is, which columns matter, and how it is split."""

    source: Annotated[
        PathOrName | dict[str, PathOrName | list[PathOrName]],
        one_message("expected one name or path, or {split: file or list of files}"),
    ] = Field(
        description="a Hub id, a local folder, a file (CSV, TSV, JSON lines, SQuAD JSON, Parquet, Excel, plain "
        "text; also as .gz, .bz2, .zst or .zip), a pattern such as train-*.csv, a "
        "Python function `package.module:function` or `file.py:function` that returns a DatasetDict, or {split: file "
        "or files}"
    )
    config: str | None = Field(default=None, description="configuration of a Hub data set, such as sst2 of glue")
    delimiter: Annotated[str | None, AfterValidator(_as_character)] = Field(
        default=None,
        description="what separates the fields of CSV and TSV files, one character or `tab`; null = told from the rows",
    )
    encoding: str | None = Field(
        default=None, description="of files of text, such as cp1252; null = UTF-8, or what their first bytes say"
    )
    column_names: Annotated[list[str] | None, ONE_OR_MORE] = Field(
        default=None, description="of CSV and TSV files without a header, in order; null = their first line names them"
    )
    train_split: str = Field(default="train", description="split to train on")
    test_split: str | None = Field(
        default=None,
        description="split to evaluate on; null = `test`, else the validation split, else `test_size` of the labelled "
        "training rows; one whose labels are hidden is passed over, unless its files are named in `source`",
    )
    validation_split: str | None = Field(
        default=None,
        description="split for evaluation during training, where the training section asks for it; null = "
        "`validation`, `valid`, `val`, `dev` or `eval`, unless it stands in for the test split",
    )
    test_size: float = Field(
        default=0.2, gt=0, lt=1, description="share of the labelled rows held out where there is no test split"
    )
    unlabelled: Annotated[list[PathOrName], ONE_OR_MORE] = Field(
        default_factory=list, description="further sources whose rows are a transfer set: text without labels"
    )
    augmentation: list[dict[str, Any]] = Field(
        default_factory=list,
        description="methods that make further unlabelled texts of the training rows, each {name, copies, and what the "
        "method takes}",
    )
    augmentation_model: PathOrName | None = Field(
        default=None, description="local folder or Hub id of the masked language model of replace_with_masked_lm"
    )
    text_columns: Annotated[list[str] | None, ONE_OR_MORE] = Field(
        default=None,
        min_length=1,
        max_length=2,
        description="one or two text columns; token classification: the column of word lists; question answering: "
        "question and context; multiple choice: the prompt, and perhaps what every choice begins with; null = the "
        "only text column, or what the task usually calls them",
    )
    choice_columns: list[str] | None = Field(
        default=None,
        min_length=2,
        description="multiple choice: one column a choice, in order; null = the one column of lists of texts",
    )
    label_column: str | None = Field(
        default=None,
        description="column of the labels; null = the task's usual name: label, labels, ner_tags, tags or answers. "
        "Null or -100 marks a row without a label (regression: null or NaN, for -100 is a score)",
    )
    label_names: list[str] | None = Field(
        default=None,
        description="names of the label ids 0, 1, …, or of the 0/1 targets, where the data holds numbers; multi-label: "
        "which columns of 0 and 1 are labels",
    )
    label_separator: Annotated[str | None, Field(min_length=1)] = Field(
        default=None,
        description="multi-label: what separates the names in a text of labels; null = told from the rows",
    )
    max_length: int | None = Field(
        default=None,
        ge=2,
        description="texts are cut after this many tokens; null = 256, or what the models read if that is less",
    )
    stride: int = Field(
        default=128,
        ge=0,
        description="question answering: tokens that neighbouring windows of a long context share; less than what "
        "max_length leaves beside the question",
    )
    mask_probability: float = Field(
        default=0.15, gt=0, lt=1, description="masked language modelling: share of the tokens that are to be predicted"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of the held-out share and of the test rows' masks")

    @property
    def file_form(self) -> FileForm:
        """How its files are written, as far as it is said."""
        return FileForm(self.delimiter, self.encoding, tuple(self.column_names) if self.column_names else None)

    @field_validator("text_columns", "choice_columns", "label_names", "column_names")
    @classmethod
    def _no_repeats(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("every name may be given once")
        return value
