"""The package: a wheel and a source distribution with all that they must hold, installed apart from the repository."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

from tests.repository import ROOT, copy_repository, tracked_files
from tests.tiny import TOPICS, tiny_model, tiny_rows, tiny_tokenizer

SITE = next(Path(path) for path in sys.path if path.endswith("site-packages"))
WITHOUT_INDEX = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}


def run(*words: str | Path, folder: Path) -> str:
    """What a command prints that ends well; neither this repository nor an index is within its reach."""
    environment = os.environ | WITHOUT_INDEX
    done = subprocess.run([*map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    source = copy_repository(tmp_path_factory.mktemp("source"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, folder=source)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [found] = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, which finds its dependencies where this one has them.

    A `.pth` file adds that folder after its own, and no `.pth` file in there is read: so an editable install of the
    working tree, which is one, is not seen.
    """
    home = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", home, folder=home)
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet", wheel, folder=home)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=home).strip())
    (own / "dependencies.pth").write_text(f"{SITE}\n", encoding="utf-8")
    return home / "bin"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a teacher and labelled rows."""
    tiny_model(num_hidden_layers=2).save_pretrained(tmp_path / "teacher")
    tiny_tokenizer().save_pretrained(tmp_path / "teacher")
    tiny_rows(40).map(lambda row: {"topic": TOPICS[row["label"]]}, remove_columns="label").rename_column(
        "topic", "label"
    ).to_csv(tmp_path / "train.csv", index=False)
    return tmp_path


# ---- What is in it ----


def test_the_wheel_holds_the_package_and_all_its_files_and_nothing_else(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == set(tracked_files("distilnlp"))
    assert {"distilnlp/py.typed", "distilnlp/recipe/schema.json", "distilnlp/runs/model_card.md"} <= packed


def test_the_source_distribution_builds_the_same_wheel(built: Path, wheel: Path, tmp_path: Path) -> None:
    """The wheel in `built` comes from it; this one comes from it once more, unpacked elsewhere."""
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path / "again", folder=source)
    [again] = (tmp_path / "again").glob("*.whl")
    first, second = ({info.filename: info.CRC for info in zipfile.ZipFile(path).infolist()} for path in (wheel, again))
    assert first == second


def metadata(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_string(archive.read(name).decode("utf-8"))


def test_the_metadata_are_complete(wheel: Path) -> None:
    said = metadata(wheel)
    assert (said["Name"], said["License-Expression"], said["Requires-Python"]) == ("distilnlp", "Apache-2.0", ">=3.11")
    assert [name for name in ("Summary", "Keywords", "Author", "Classifier") if not said[name]] == []
    assert said["License-File"] == "LICENSE"
    assert said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload(decode=False).strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    extras = set(said.get_all("Provides-Extra"))
    assert {"export", "onnx", "excel", "catboost", "docs", "dev"} <= extras


# ---- Installed ----


def test_what_is_installed_is_the_wheel(installed: Path, tmp_path: Path) -> None:
    place = "import distilnlp; print(distilnlp.__file__)"
    assert run(installed / "python", "-c", place, folder=tmp_path).startswith(str(installed.parent))


def test_the_command_tells_its_version_and_its_help(installed: Path, wheel: Path, tmp_path: Path) -> None:
    assert run(installed / "distilnlp", "--version", folder=tmp_path) == f"distilnlp {metadata(wheel)['Version']}\n"
    assert "distill" in run(installed / "distilnlp", "--help", folder=tmp_path)


def test_a_recipe_is_written_and_gone_through(installed: Path, data: Path) -> None:
    words = ["--teacher", "teacher", "--data", "train.csv", "--output", "out"]
    assert "recipe.yaml" in run(installed / "distilnlp", "init", *words, folder=data)
    plan = run(installed / "distilnlp", "distill", "recipe.yaml", "--dry-run", folder=data)
    assert "student" in plan
    assert not (data / "out").exists()


def test_serving_needs_no_torch(installed: Path, tmp_path: Path) -> None:
    asked = "import sys, distilnlp.serving; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    assert run(installed / "python", "-c", asked, folder=tmp_path) == "[]\n"
