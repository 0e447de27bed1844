"""Fingerprints: by content, so that a copied file is the same and a changed one is not."""

import hashlib
from pathlib import Path

from transformers import PreTrainedModel

FILES = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model")


def model_fingerprint(name: str, model: PreTrainedModel) -> str:
    """Return what identifies a model: the hash of its folder's files, or the commit of its Hub repository."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return f"{name}@{getattr(model.config, '_commit_hash', None)}"
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted({path for pattern in FILES for path in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
