"""Models by their names: local ones at once, those of the Hub asked for once, code of their own only if allowed."""

import builtins
import json
import time
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from distilnlp.errors import DistillationError, UnreachableError
from distilnlp.models.loading import load_pretrained
from distilnlp.runs.models import load_finished, new_head
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION
from tests.tiny import TOPICS, tiny_model, tiny_tokenizer

CODE = """
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast
print("code of the model was run")
class OwnConfig(BertConfig):
    model_type = "own"
class OwnModel(BertForSequenceClassification):
    config_class = OwnConfig
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the model `my-classifier`, and in which the test works."""
    monkeypatch.chdir(tmp_path)
    tiny_model().save_pretrained(tmp_path / "my-classifier")
    tiny_tokenizer().save_pretrained(tmp_path / "my-classifier")
    (tmp_path / "models" / "teacher").mkdir(parents=True)
    for name in ("rows.csv", "models/rows.csv"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("my-clasifier", DistillationError, r"Did you mean 'my-classifier'"),
        ("./my-clasifier", DistillationError, "no such folder.*Did you mean 'my-classifier'"),
        ("models/teachr", DistillationError, "a Hub id that can be reached.*Did you mean 'models/teacher'"),
        ("modles/teacher", UnreachableError, "Did you mean 'models/teacher'"),
        ("models/teachr/", DistillationError, "no such folder"),
        ("/nowhere/at/all", DistillationError, "no such folder"),
        ("a/b/c", DistillationError, "no such folder"),
        ("no model", DistillationError, "no such folder"),
        ("x" * 5000, DistillationError, "no such folder"),
        ("~nobody/model", DistillationError, "no such folder"),
        ("", DistillationError, "cannot load"),
        ("rows.csv", DistillationError, "no such folder"),
        ("models/rows.csv", DistillationError, "no such folder"),
        ("google-bert/bert-base-uncased", UnreachableError, "a Hub id that can be reached or is in the cache"),
        ("distilbert", UnreachableError, "a Hub id"),
    ],
)
def test_a_name_that_can_only_be_local_is_no_model_of_the_hub(
    here: Path, name: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(DistillationError, match=message) as caught:
        load_pretrained(AutoTokenizer, name)
    assert type(caught.value) is kind
    assert len(str(caught.value)) < 2100


def test_a_folder_with_the_name_of_an_owner_hides_no_model_of_the_hub(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AutoConfig.from_pretrained(here / "my-classifier")
    asked = []
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda name, **_: asked.append(name) or config)
    assert load_pretrained(AutoConfig, "models/deberta-v3-small") is config
    assert asked == ["models/deberta-v3-small"]


def test_the_hub_is_asked_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    begin = time.monotonic()
    with pytest.raises(UnreachableError, match=r"ConnectionRefusedError|ConnectError|ConnectionError"):
        load_pretrained(AutoConfig, "some-body/some-model")
    assert time.monotonic() - begin < 5


def test_code_of_a_model_is_run_only_if_it_was_allowed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def asked(*_: Any) -> str:
        pytest.fail("asked on the terminal")

    monkeypatch.setattr(builtins, "input", asked)
    monkeypatch.setenv("HF_MODULES_CACHE", str(here / "modules"))
    folder = here / "my-classifier"
    (folder / "own.py").write_text(CODE)
    config = AutoConfig.from_pretrained(folder).to_dict()
    config["auto_map"] = {
        "AutoConfig": "own.OwnConfig",
        "AutoModelForSequenceClassification": "own.OwnModel",
    }
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own"}))
    for load in (
        lambda: load_pretrained(AutoConfig, "my-classifier"),
        lambda: load_finished("my-classifier", SINGLE_LABEL_CLASSIFICATION),
        lambda: new_head("my-classifier", SINGLE_LABEL_CLASSIFICATION, TOPICS, 0, ["another"]),
    ):
        with pytest.raises(DistillationError, match=r"code of its own.*`trust_remote_code: my-classifier`"):
            load()
    assert "was run" not in capsys.readouterr().out
    model = load_pretrained(AutoModelForSequenceClassification, "my-classifier", ["my-classifier"])
    assert type(model).__name__ == "OwnModel"


def test_weights_of_further_layers_are_refused(here: Path) -> None:
    file = here / "my-classifier" / "model.safetensors"
    weights = load_file(file)
    last = {name: value for name, value in weights.items() if ".layer.3." in name}
    more = {name.replace(".layer.3.", ".layer.4."): torch.clone(value) for name, value in last.items()}
    save_file({**weights, **more}, file, metadata={"format": "pt"})
    for load in (
        lambda: load_finished("my-classifier", SINGLE_LABEL_CLASSIFICATION),
        lambda: new_head("my-classifier", SINGLE_LABEL_CLASSIFICATION, TOPICS, 0),
    ):
        with pytest.raises(DistillationError, match="has 4 layers, but its weights are of 1 more"):
            load()


@pytest.mark.parametrize(("key", "value"), [("num_hidden_layers", 5), ("intermediate_size", 8)])
def test_layers_without_weights_are_refused(here: Path, key: str, value: int) -> None:
    config = AutoConfig.from_pretrained("my-classifier")
    setattr(config, key, value)
    config.save_pretrained("my-classifier")
    with pytest.raises(DistillationError, match=r"my-classifier lacks .*encoder\.layer\."):
        new_head("my-classifier", SINGLE_LABEL_CLASSIFICATION, TOPICS, 0)


def test_an_encoder_that_is_not_finite_is_refused_before_it_is_trained(here: Path) -> None:
    broken = tiny_model()
    torch.nn.init.constant_(broken.bert.encoder.layer[1].output.dense.bias, torch.nan)
    broken.save_pretrained("my-classifier")
    with pytest.raises(DistillationError, match=r"my-classifier's weights must be finite, but .*layer\.1\.output"):
        new_head("my-classifier", SINGLE_LABEL_CLASSIFICATION, TOPICS, 0)
