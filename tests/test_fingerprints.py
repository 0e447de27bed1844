"""Fingerprints: of a saved model, what it is made of."""

from pathlib import Path

import pytest

from distilnlp.models.identity import model_fingerprint
from tests.tiny import tiny_model


@pytest.mark.parametrize("name", ["modeling_own.py", "tokenizer.json", "extra.safetensors"])
def test_whatever_a_model_is_made_of_changes_its_fingerprint(tmp_path: Path, name: str) -> None:
    """Its own code too, which answers where `trust_remote_code` is set."""
    model = tiny_model(num_hidden_layers=1)
    (tmp_path / name).write_text("before")
    before = model_fingerprint(str(tmp_path), model)
    assert model_fingerprint(str(tmp_path), model) == before
    (tmp_path / name).write_text("after")
    assert model_fingerprint(str(tmp_path), model) != before
    (tmp_path / name).write_text("before")
    (tmp_path / "notes.md").write_text("of no matter")
    assert model_fingerprint(str(tmp_path), model) == before
