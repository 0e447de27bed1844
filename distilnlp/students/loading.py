"""A model or a tokenizer as it is, or loaded from the folder or the Hub repository that is named."""

import os
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import DistillationError

Source = str | os.PathLike[str]


def as_model(given: PreTrainedModel | Source) -> PreTrainedModel:
    """Return a model, or load it with the head that it was saved with.

    Args:
        given: the model, its folder or its Hub id.

    Raises:
        DistillationError: it is none of these, cannot be loaded, does not say its class, or lacks weights of it.
    """
    if isinstance(given, PreTrainedModel):
        return given
    config = _load(AutoConfig, given, "model")
    name = next(iter(config.architectures or ()), None)
    model_class = getattr(transformers, str(name), None)
    if model_class is None:
        raise DistillationError(
            f"the config of {str(given)!r} must name the class that was saved, one of transformers, but it names "
            f"{name}. Load the model with the auto class of its task and pass it."
        )
    model, report = _load(model_class, given, "model", output_loading_info=True)
    if report["missing_keys"]:
        raise DistillationError(
            f"{str(given)!r} lacks {len(report['missing_keys'])} of the weights of a {name}, which would be random: "
            f"{sorted(report['missing_keys'])[:3]}. Save it again with save_pretrained, or load it and pass it."
        )
    return model


def as_tokenizer(given: PreTrainedTokenizerBase | Source) -> PreTrainedTokenizerBase:
    """Return a tokenizer, or load it from its folder or by its Hub id.

    Raises:
        DistillationError: it is none of these, or cannot be loaded.
    """
    return given if isinstance(given, PreTrainedTokenizerBase) else _load(AutoTokenizer, given, "tokenizer")


def _load(loader: Any, given: Any, kind: str, **options: Any) -> Any:
    if not isinstance(given, str | os.PathLike):
        raise DistillationError(
            f"expected a {kind} of transformers, its folder or its Hub id, but got {type(given).__name__}: "
            f"{given!r:.80}. Load it with from_pretrained."
        )
    folder = Path(given).expanduser()
    try:
        return loader.from_pretrained(str(folder if folder.exists() else given), **options)
    except Exception as error:  # transformers, tokenizers and safetensors raise many kinds, also plain ones
        raise DistillationError(
            f"cannot load the {kind} {str(given)!r}: it must be a folder (seen from {Path.cwd()}) or a Hub id that can "
            f"be reached or is in the cache. {type(error).__name__}: {str(error).splitlines()[0]:.200}"
        ) from error
