"""The tokenizer that goes with a student: the teacher's, giving only the inputs that the student names."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from distilnlp.signals import named_inputs


@contextmanager
def naming_inputs_of(student: nn.Module, tokenizer: Any) -> Iterator[None]:
    """Let a tokenizer be saved as one that gives what a student takes: a DistilBERT has no `token_type_ids`.

    Args:
        student: the model that the tokenizer is saved beside.
        tokenizer: it is as before when this ends. Anything else than a tokenizer is left alone.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        yield
        return
    given, options = tokenizer.model_input_names, dict(tokenizer.init_kwargs)
    takes = named_inputs(student)
    tokenizer.model_input_names = [name for name in given if name in takes]
    tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # or it is not saved
    try:
        yield
    finally:
        tokenizer.model_input_names, tokenizer.init_kwargs = given, options
