"""A student goes to the Hub: the real client against a server on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
import transformers.utils.hub
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from distilnlp.cli.commands import main
from distilnlp.errors import DistillationError
from distilnlp.runs import export_saved, push_saved, run
from distilnlp.runs.checks import hub as hub_check
from distilnlp.runs.pushing import contents, may_push, without_paths
from distilnlp.runs.runner import make_plan
from tests import hub_server
from tests.hub_server import READER, TOKEN, Hub
from tests.test_runs import folder, recipe, save_model
from tests.tiny import tiny_model

__all__ = ["folder"]  # a fixture
OF_RUN = {"run/recipe.yaml", "run/results.json", "run/report.html"}
OF_STUDENT = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that the client of this process talks to, logged in as ada."""
    with hub_server.running() as running:
        for name, value in (("ENDPOINT", running.url), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)  # a client that knows another endpoint
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def student(tmp_path: Path) -> Path:
    save_model(tmp_path / "student", tiny_model(num_hidden_layers=1))
    export_saved(str(tmp_path / "student"))
    (tmp_path / "student" / "history.jsonl").write_text('{"loss": 1}\n')
    (tmp_path / "student" / "history").mkdir()
    (tmp_path / "student" / "history" / "events.bin").write_bytes(b"x")
    return tmp_path / "student"


def test_a_push_sends_the_student_and_nothing_else(student: Path, hub: Hub, capsys: Any) -> None:
    assert main(["push", str(student), "ada/small", "--licence", "mit", "--message", "first"]) == 0
    files = hub.repos["ada/small"]["main"]
    assert files.keys() == OF_STUDENT | {"onnx/model.onnx", "onnx/export.json"}
    for name in files.keys() - {"README.md"}:
        assert files[name] == (student / name).read_bytes()
    assert ModelCard(files["README.md"].decode()).data.license == "mit"
    assert hub.commits == ["first"]
    assert f"pushed    {hub.url}/ada/small/commit/" in capsys.readouterr().out
    everything = b"".join([*files.values(), *hub.bodies])
    assert TOKEN.encode() not in everything
    assert str(student.parent).encode() not in everything


def test_a_push_that_broke_goes_on_where_it_stopped(student: Path, hub: Hub, capsys: Any) -> None:
    hub.fails_after = 1
    assert main(["push", str(student), "small"]) == 2
    assert "not pushed to the Hub" in capsys.readouterr().err
    assert hub.repos["ada/small"]["main"] == {}  # a commit is whole or not there
    assert len(hub.sent) == 1
    hub.fails_after = None
    assert main(["push", str(student), "small"]) == 0
    assert len(hub.sent) == len(set(hub.sent)) == 2  # weights and graph, each once
    assert len(hub.repos["ada/small"]["main"]) == 7 - (not (student / "README.md").exists())
    commits = len(hub.commits)
    push_saved(str(student), "small")
    assert len(hub.sent) == 2
    assert len(hub.commits) == commits  # nothing has changed


def test_a_branch_and_a_private_repository(student: Path, hub: Hub) -> None:
    pushed = push_saved(str(student), "lab/small", private=True, revision="int8")
    assert pushed.repo_id == "lab/small"
    assert hub.private == {"lab/small"}
    assert hub.repos["lab/small"]["main"] == {}
    assert "model.safetensors" in hub.repos["lab/small"]["int8"]


def test_what_was_pushed_loads_from_there(student: Path, hub: Hub, tmp_path: Path) -> None:
    push_saved(str(student), "ada/small", private=True, revision="best")
    program = """
import sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained("ada/small", revision="best")
tokenizer = AutoTokenizer.from_pretrained("ada/small", revision="best")
assert tokenizer("the film plot")["input_ids"]
from safetensors.torch import save_file
save_file({name: own.contiguous() for name, own in model.state_dict().items()}, sys.argv[1])
"""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    words = [sys.executable, "-c", program, str(tmp_path / "loaded.safetensors")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded, own = load_file(tmp_path / "loaded.safetensors"), load_file(student / "model.safetensors")
    assert all(torch.equal(loaded[name], own[name]) for name in own)


def test_a_run_is_pushed_at_its_end_and_again_when_it_has_changed(folder: Path, hub: Hub) -> None:
    wanted = recipe(folder, push_to_hub={"repo_id": "ada/small", "licence": "apache-2.0"})
    run(wanted)
    files = dict(hub.repos["ada/small"]["main"])
    assert files.keys() == OF_STUDENT | OF_RUN
    card = ModelCard(files["README.md"].decode())
    assert card.data.license == "apache-2.0"
    assert json.loads((folder / "out" / "pushed.json").read_text())["repo_id"] == "ada/small"
    for name in OF_RUN:
        assert str(folder).encode() not in files[name], name
    results = json.loads(files["run/results.json"])
    assert results["models"].keys() == {"teacher", "student"}
    asked = len(hub.asked)
    run(wanted)
    assert len(hub.asked) == asked  # all is up to date
    run(recipe(folder, push_to_hub="ada/small", **{"training.learning_rate": 1e-3}))
    assert hub.repos["ada/small"]["main"]["model.safetensors"] != files["model.safetensors"]


def test_a_card_takes_over_the_licence_and_says_how_sure_the_figures_are(folder: Path) -> None:
    (folder / "teacher" / "README.md").write_text(
        "---\nlicense: cc-by-4.0\nlanguage: en\nbase_model: google/large\n---\n# Teacher\n"
    )
    run(recipe(folder, **{"training.losses": [{"name": "hidden_state_cosine"}]}))
    card = ModelCard.load(folder / "out" / "student" / "README.md")
    data = card.data.to_dict()
    assert (data["license"], data["language"], data["base_model"]) == ("cc-by-4.0", "en", "google/large")
    assert data["base_model_relation"] == "finetune"
    assert "accuracy" in data["metrics"]
    (found,) = [own for own in card.data.eval_results or [] if own.metric_type == "accuracy"]
    low, high = (found.metric_args or {})["confidence_interval_95"]
    assert low <= found.metric_value <= high
    for said in ("arXiv 1503.02531", "arXiv 1910.01108", "## Limitations", "of the test rows", "cc-by-4.0."):
        assert said in card.text, said
    assert "distilnlp export" in card.text  # there is no graph


def test_a_card_without_a_licence_says_that_it_is_open(folder: Path) -> None:
    run(recipe(folder))
    card = ModelCard.load(folder / "out" / "student" / "README.md")
    assert card.data.license is None
    assert "Not settled" in card.text


@pytest.mark.parametrize(
    ("token", "repo_id", "message"),
    [
        ("hf_" + "x" * 34, "ada/small", "not pushed to the Hub.*Log in"),
        (READER, "ada/small", "may read but not write"),
        (TOKEN, "bob/small", "expected a repository of ada or lab.*is of bob"),
        (TOKEN, "ada/a/b", "is no name of a repository"),
        (None, "ada/small", "Log in with `hf auth login`"),
    ],
)
def test_who_may_not_push_is_told_before_anything_is_trained(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str | None, repo_id: str, message: str
) -> None:
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(folder / "none"))
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(DistillationError, match=message):
        run(recipe(folder, push_to_hub=repo_id))
    assert not (folder / "out").exists()
    assert hub.repos == {}


def test_a_dry_run_asks_nobody(folder: Path) -> None:
    plan = make_plan(recipe(folder, push_to_hub=True))
    (said,) = hub_check(plan)
    assert "the Hub was not asked" in str(said)


def test_the_trainer_pushes_there_too(hub: Hub, make_trainer: Any, tmp_path: Path) -> None:
    trainer = make_trainer(hub_model_id="ada/trained", output_dir=tmp_path / "out")
    trainer.train()
    trainer.push_to_hub()
    files = hub.repos["ada/trained"]["main"]
    assert {"model.safetensors", "config.json", "README.md"} <= files.keys()
    assert TOKEN.encode() not in b"".join(files.values())


def test_a_token_in_a_file_is_not_pushed(student: Path, hub: Hub) -> None:
    (student / "notes.txt").write_text(f"my token is {TOKEN}")
    with pytest.raises(DistillationError, match="holds a token") as refused:
        push_saved(str(student), "ada/small")
    assert TOKEN not in str(refused.value)
    assert hub.repos == {}


def test_what_is_no_student_is_refused(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DistillationError, match=r"with config\.json"):
        push_saved(str(tmp_path / "empty"), "ada/small")
    (tmp_path / "empty" / "config.json").write_text("{}")
    (tmp_path / "empty" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(DistillationError, match="expected weights in safetensors"):
        contents(tmp_path / "empty")
    with pytest.raises(DistillationError, match="is none"):
        push_saved(str(tmp_path / "nowhere"), "ada/small")
    assert may_push("small") == "ada/small"


def test_paths_of_this_machine_become_their_last_parts(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").touch()
    path = tmp_path / "data" / "train.csv"
    text = f'command: distilnlp distill --data {path}, "{path}" and/or https://a.b/c/d 3/4 <b>/</b> {Path.home()}/x/y/z'
    own = 'data/train.csv, "data/train.csv"'
    expected = f"command: distilnlp distill --data {own} and/or https://a.b/c/d 3/4 <b>/</b> y/z"
    assert without_paths(text) == expected
