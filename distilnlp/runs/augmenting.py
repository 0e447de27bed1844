"""More rows for the teacher to answer, made of the training rows before anything is trained."""

from collections.abc import Sequence
from dataclasses import replace

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset, concatenate_datasets
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerBase

from distilnlp.augmentation import MethodConfig, augment, parse_augmentation
from distilnlp.data import Layout, PreparedData
from distilnlp.errors import DistillationError, shown
from distilnlp.models.loading import load_pretrained
from distilnlp.recipe.sections import Recipe
from distilnlp.signals import LABEL, TEXT, TEXT_PAIR

MASKED_LM_METHOD = "replace_with_masked_lm"


def augmented(recipe: Recipe, data: PreparedData, tokenizer: PreTrainedTokenizerBase | None) -> PreparedData:
    """Return the data with what `data.augmentation` adds to the training rows, none of it with a label.

    Args:
        recipe: says which methods.
        data: checked and split.
        tokenizer: the teacher's, whose mask token `mask_words` writes.

    Raises:
        DistillationError: the task's rows are not texts with labels, or the recipe does not tell who may answer them.
    """
    methods = parse_augmentation(recipe.data.augmentation)
    needs_model = any(method.name == MASKED_LM_METHOD for method in methods)
    if needs_model != (recipe.data.augmentation_model is not None):
        raise DistillationError(
            f"data.augmentation_model is the masked language model of {MASKED_LM_METHOD}, and belongs to it alone: "
            "give both, or neither."
        )
    if not methods:
        return data
    _check(recipe, data)
    texts = [name for name in (TEXT, TEXT_PAIR) if name in data.train.column_names]
    # One process makes them for all: a model's guesses may differ in the last bit elsewhere.
    made = _new_rows(recipe, methods, data.train.select_columns(texts), tokenizer) if _is_main() else None
    parts = _shared(made)
    layout = Layout(tuple(texts), LABEL, label_names=tuple(data.label_names))
    further = [data.rows.normalise(part, layout, "augmented") for part in parts]
    return replace(data, train=concatenate_datasets([data.train, *further]))


def _is_main() -> bool:
    return PartialState().is_main_process


def _new_rows(
    recipe: Recipe, methods: Sequence[MethodConfig], rows: Dataset, tokenizer: PreTrainedTokenizerBase | None
) -> list[Dataset]:
    """Return the new texts, those of a masked language model apart: it has a tokenizer of its own."""
    texts, seed = rows.column_names, recipe.data.seed
    plain = [method for method in methods if method.name != MASKED_LM_METHOD]
    by_model = [method for method in methods if method.name == MASKED_LM_METHOD]
    parts = [augment(rows, plain, text_columns=texts, tokenizer=tokenizer, seed=seed)] if plain else []
    if by_model:
        name, trusted = str(recipe.data.augmentation_model), recipe.trust_remote_code
        own = load_pretrained(AutoTokenizer, name, trusted)
        model, report = load_pretrained(AutoModelForMaskedLM, name, trusted, output_loading_info=True)
        if report["missing_keys"]:
            raise DistillationError(
                f"data.augmentation_model must be a masked language model, but {name} lacks the weights "
                f"{shown(sorted(report['missing_keys'])[:3])}, which would be random. Name a model "
                "that was trained as one."
            )
        parts.append(augment(rows, by_model, text_columns=texts, tokenizer=own, masked_lm=model, seed=seed))
    return parts


def _shared(made: list[Dataset] | None) -> list[Dataset]:
    """Return on every process what the main one made: rows in files as the names of the files."""
    try:
        return broadcast_object_list([made])[0]
    except FileNotFoundError as error:
        raise DistillationError(
            f"the texts of data.augmentation are in a file of the main process, which another does not see: {error}. "
            "Set HF_DATASETS_CACHE to a folder that all machines share."
        ) from error


def _check(recipe: Recipe, data: PreparedData) -> None:
    if not (data.rows.are_texts and data.rows.needs_labels):
        raise DistillationError(
            f"data.augmentation makes new texts, for tasks of whole texts, but the rows of {data.rows.task} are "
            "others. Remove data.augmentation."
        )
    for key in ("folds", "text_columns", "column"):
        if getattr(recipe.teacher, key) is not None:
            raise DistillationError(
                f"data.augmentation and teacher.{key} do not go together: a new text has neither a fold nor the "
                "teacher's further columns. Remove one of them."
            )
