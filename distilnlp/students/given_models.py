"""Models and tokenizers that are given as such, or loaded by name; and the tokenizer that goes with a student."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import DistillationError, shown
from distilnlp.models.loading import load_pretrained

Source = str | os.PathLike[str]


def as_model(given: PreTrainedModel | Source) -> PreTrainedModel:
    """Return a model, or load it from its folder or by its Hub id with the head that it was saved with."""
    if isinstance(given, PreTrainedModel):
        return given
    source = _named(given, "model")
    config = load_pretrained(AutoConfig, source)
    name = next(iter(config.architectures or ()), None)
    model_class = getattr(transformers, str(name), None)
    if model_class is None:
        raise DistillationError(
            f"the config of {shown(source)} must name the class that was saved, one of transformers, but it names "
            f"{name}. Load the model with the auto class of its task and pass it."
        )
    model, report = load_pretrained(model_class, source, output_loading_info=True)
    if report["missing_keys"]:
        raise DistillationError(
            f"{shown(source)} lacks {len(report['missing_keys'])} of the weights of a {name}, which would be random: "
            f"{sorted(report['missing_keys'])[:3]}. Save it again with save_pretrained, or load it and pass it."
        )
    return model


def as_tokenizer(given: PreTrainedTokenizerBase | Source) -> PreTrainedTokenizerBase:
    """Return a tokenizer, or load it from its folder or by its Hub id."""
    if isinstance(given, PreTrainedTokenizerBase):
        return given
    return load_pretrained(AutoTokenizer, _named(given, "tokenizer"))


@contextmanager
def giving_only(inputs: frozenset[str], tokenizer: object) -> Iterator[None]:
    """Let a tokenizer be saved as one that gives what a student takes: a DistilBERT has no `token_type_ids`.

    When this ends it is as before. Anything else than a tokenizer is left alone.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        yield
        return
    given, options = tokenizer.model_input_names, dict(tokenizer.init_kwargs)
    tokenizer.model_input_names = [name for name in given if name in inputs]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # or it is not saved
    try:
        yield
    finally:
        tokenizer.model_input_names, tokenizer.init_kwargs = given, options


def _named(given: object, kind: str) -> str:
    if not isinstance(given, str | os.PathLike):
        raise DistillationError(
            f"expected a {kind} of transformers, its folder or its Hub id, but got {type(given).__name__}: "
            f"{shown(given, 80)}. Load it with from_pretrained."
        )
    return os.path.expanduser(given)
