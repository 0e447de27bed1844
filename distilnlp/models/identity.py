"""Fingerprints: by content, so that a copied file is the same and a changed one is not."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.files import blocks, content_checksum, digest

FILES = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model", "*.py")  # Python: where its code is trusted
# Of a config: where it came from and how it runs, which change no answer.
NOT_CONTENT = ("_name_or_path", "transformers_version", "_commit_hash", "architectures", "torch_dtype", "dtype")


def model_fingerprint(name: str, model: PreTrainedModel) -> str:
    """Return what identifies a saved model: the hash of its folder's files, or the commit of its Hub repository."""
    folder = Path(name)
    if not folder.is_dir():
        return f"{name}@{getattr(model.config, '_commit_hash', None)}"
    files = sorted({path for pattern in FILES for path in folder.glob(pattern)})
    return digest(part for path in files for part in chain([path.name.encode()], blocks(path))).hex()


def weights_fingerprint(model: PreTrainedModel) -> str:
    """Return the hash of a loaded model's config, and of the numbers and dtypes of its weights."""

    def parts() -> Iterator[bytes | memoryview]:
        config = {name: value for name, value in model.config.to_dict().items() if name not in NOT_CONTENT}
        yield json.dumps([type(model).__name__, config], sort_keys=True, default=str).encode()
        for name, tensor in sorted(nn.Module.state_dict(model).items()):
            yield f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode()
            yield tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data

    return digest(parts()).hex()


def joint_fingerprint(*parts: object) -> str | None:
    """Return the hash of several teachers' fingerprints and of settings; None if one teacher has none."""
    named = [getattr(part, "fingerprint", None) if callable(part) else part for part in parts]
    return None if any(name is None for name in named) else content_checksum(named)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the hash of how a tokenizer splits and numbers text, as far as it can be written down."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        content = tokenizer.get_vocab()
    else:
        rules = json.loads(backend.to_str())
        content = {name: value for name, value in rules.items() if name not in ("truncation", "padding")}
    return content_checksum([type(tokenizer).__name__, content])
