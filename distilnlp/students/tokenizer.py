"""The tokenizer that goes with a student: the teacher's, giving only the inputs that the student names."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedTokenizerBase


@contextmanager
def giving_only(inputs: frozenset[str], tokenizer: Any) -> Iterator[None]:
    """Let a tokenizer be saved as one that gives what a student takes: a DistilBERT has no `token_type_ids`.

    Args:
        inputs: what the student names.
        tokenizer: it is as before when this ends. Anything else than a tokenizer is left alone.
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
