"""The folder of a run: known by its mark, and nothing that no run wrote is ever deleted."""

import errno
from pathlib import Path

import pytest
import yaml

from distilnlp.answers import DiskFullError
from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import Recipe, load_recipe
from distilnlp.runs.folder import alone_in, check_folder, claimed, naming_the_disk
from tests import test_runs

folder = test_runs.folder  # a teacher and data
recipe = test_runs.recipe


@pytest.fixture
def wanted(folder: Path) -> Recipe:
    return recipe(folder)


@pytest.fixture
def out(wanted: Recipe) -> Path:
    """The folder of a run that has begun."""
    with claimed(wanted, overwrite=False):
        pass
    return Path(wanted.output)


def listing(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


FOREIGN: dict[str, dict[str, str]] = {
    "work alone": {"work/teacher/thesis.tex": "precious"},
    "a lock in it": {"work/lock": "", "work/thesis.tex": "precious"},
    "names of ours": {"teacher/model.safetensors": "precious", "student/notes.txt": "precious"},
    "a recipe of one's own": {"recipe.yaml": "teacher: {model: a}\ndata: {source: b}\noutput: c\n"},
    "a cookbook": {"recipe.yaml": "flour: 200 g\n", "work/plan.txt": "precious"},
    "half a recipe": {"recipe.yaml.partial": "teacher:", "work/plan.txt": "precious"},
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_folder_without_a_mark_is_foreign(wanted: Recipe, files: dict[str, str], overwrite: bool) -> None:
    for name, content in files.items():
        path = Path(wanted.output, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    before = listing(Path(wanted.output))
    with pytest.raises(DistillationError, match="no run of distilnlp wrote"):
        check_folder(wanted, overwrite)
    assert listing(Path(wanted.output)) == before


def test_a_run_is_known_by_its_mark_alone(wanted: Recipe, out: Path) -> None:
    """A kill or a full disk between the mark and the recipe leaves a run; a copy without the mark is none."""
    recipe_file = out / "recipe.yaml"
    content = recipe_file.read_text()
    recipe_file.unlink()
    check_folder(wanted)
    recipe_file.write_text(content)
    (out / ".distilnlp").unlink()
    with pytest.raises(DistillationError, match="no run of distilnlp wrote"):
        check_folder(wanted)


def test_what_a_kill_left_half_written_is_swept(wanted: Recipe, out: Path) -> None:
    for name in ("recipe.yaml.partial", "work/student.json.partial", "history/student.jsonl.partial"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("half")
    check_folder(wanted)
    with claimed(wanted, overwrite=False):
        assert listing(out) == [".distilnlp", "history", "recipe.yaml", "work", "work/lock"]


def test_overwriting_deletes_what_a_run_writes_and_nothing_else(wanted: Recipe, out: Path) -> None:
    for name in ("student/model.safetensors", "work/student.json", "history/student.jsonl", "mine/thesis.tex"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("content")  # the last between the check and the claim
    with claimed(wanted, overwrite=True):
        pass
    assert listing(out) == [".distilnlp", "mine", "mine/thesis.tex", "recipe.yaml", "work", "work/lock"]


@pytest.mark.parametrize("content", ["", "- a list\n", "output: [", "\x00", "\udcff"])
def test_a_recipe_that_is_damaged_is_told_and_deleting_it_goes_on(wanted: Recipe, out: Path, content: str) -> None:
    (out / "recipe.yaml").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DistillationError, match=r"recipe.yaml\), so nothing tells which run.*Delete that file"):
        check_folder(wanted)
    check_folder(wanted, overwrite=True)
    (out / "recipe.yaml").unlink()
    check_folder(wanted)


def test_another_run_is_refused(wanted: Recipe, out: Path) -> None:
    content = yaml.safe_load((out / "recipe.yaml").read_text())
    content["data"]["source"] = "elsewhere"
    (out / "recipe.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DistillationError, match=r"holds another run: data\.source differ"):
        check_folder(wanted)
    check_folder(wanted, overwrite=True)


def test_the_recipe_of_a_run_is_that_run(folder: Path) -> None:
    names = ["1e3", "no", "010"]
    same = recipe(folder, **{"data.label_names": names})
    with claimed(same, overwrite=False):
        pass
    again = load_recipe(Path(same.output) / "recipe.yaml")
    assert again == same
    check_folder(again)
    check_folder(same)


# ---- Links, and what cannot be a folder ----


@pytest.mark.parametrize("name", ["student", "work/student", "teachers/0"])
def test_links_inside_of_a_run_are_refused(wanted: Recipe, out: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "disk").mkdir()
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).symlink_to(tmp_path / "disk")
    for overwrite in (False, True):
        with pytest.raises(DistillationError, match=f"must hold no links, but .*{name} is one, to .*disk"):
            check_folder(wanted, overwrite)


def test_work_may_not_be_a_link_and_the_output_may(folder: Path, wanted: Recipe, out: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(out)
    check_folder(recipe(folder, output=str(tmp_path / "link")))
    (out / "work").rename(tmp_path / "elsewhere")
    (out / "work").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DistillationError, match="must hold no links"):
        check_folder(wanted)


@pytest.mark.parametrize("key", ["output", "training.teacher_cache"])
@pytest.mark.parametrize("name", ["{}/circle", "~nobody-of-that-name/out", "{}/file", "/proc/out", f"{{}}/{'x' * 300}"])
def test_what_cannot_be_a_folder_is_refused_before_anything_is_loaded(folder: Path, name: str, key: str) -> None:
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "file").write_text("")
    with pytest.raises(DistillationError, match=key):
        check_folder(recipe(folder, **{key: name.format(folder)}))


def test_a_named_cache_that_holds_other_files_is_refused_with_the_folder(folder: Path) -> None:
    with pytest.raises(DistillationError, match="a cache needs a folder of its own"):
        check_folder(recipe(folder, **{"training.teacher_cache": str(folder / "teacher")}))


def test_checking_leaves_nothing_behind(folder: Path, wanted: Recipe) -> None:
    before = listing(folder)
    check_folder(recipe(folder, output=str(folder / "new" / "deep")))
    assert listing(folder) == before


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (FULL, OSError, r"out cannot be written any more, make room there \(.*No space left"),
        (DiskFullError("the disk of kept is full."), OSError, r"^the disk of kept is full$"),
        (DistillationError("the cache of the datasets library cannot be written."), DistillationError, "the datasets"),
        (KeyError("other"), KeyError, "other"),
    ],
)
def test_a_failed_write_names_the_folder_unless_its_error_says_more(
    tmp_path: Path, error: Exception, kind: type[Exception], message: str
) -> None:
    if isinstance(error, DistillationError):
        error.__cause__ = FULL
    with pytest.raises(kind, match=message), naming_the_disk(tmp_path / "out"):
        raise error


def test_the_mark_is_there_before_the_lock(tmp_path: Path) -> None:
    with alone_in(tmp_path / "new"):
        assert listing(tmp_path / "new") == [".distilnlp", "work", "work/lock"]
