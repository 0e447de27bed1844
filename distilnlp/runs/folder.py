"""The folder of a run: claimed by one run, refused to another."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from distilnlp.answers import DiskFullError, check_cache_folder
from distilnlp.answers.keeping import AUTO, named_folder
from distilnlp.errors import DistillationError, shortened, shown
from distilnlp.evaluation import PREDICTIONS
from distilnlp.files import PARTIAL, failed_write, remove, write_text
from distilnlp.recipe.sections import Recipe
from distilnlp.recipe.text import read_yaml, write_yaml
from distilnlp.runs.stages import WORK

MARK = ".distilnlp"  # an empty file that says whose folder it is, there before anything else
LOCK = "lock"
RECIPE_FILE = "recipe.yaml"
CACHE = "cache"  # the teacher's answers
FOLDS = "teacher_folds"
MEMBERS = "teachers"
HISTORY = "history"  # of runs of version 0.1: now it lies beside each model
REPORT = "report.html"
PUSHED = "pushed.json"  # where the student lies on the Hub
OUTPUTS = {
    "teacher",
    FOLDS,
    MEMBERS,
    CACHE,
    "student",
    "baseline",
    PREDICTIONS,
    "results.json",
    REPORT,
    PUSHED,
    HISTORY,
}
OWN_FILES = {MARK, RECIPE_FILE, f"{RECIPE_FILE}{PARTIAL}", WORK, *OUTPUTS}


def check_folder(recipe: Recipe, overwrite: bool = False) -> None:
    """Refuse an output folder that holds something else than this run.

    A run is the same as long as the teacher's models, or the columns of its answers, and the labelled data are: other
    changes make the stages that they concern start anew, and the others are reused.

    Args:
        recipe: names the folder.
        overwrite: another run may be there: it will be deleted.

    Raises:
        DistillationError: the folder holds another run, or files that no run wrote, or what this run reads.
    """
    folder = Path(recipe.output)
    _check_can_be_folder("output", folder)
    _check_named_cache(recipe, folder)
    _check_sources_outside(recipe, folder)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    foreign = sorted(item.name for item in folder.iterdir() if item.name not in OWN_FILES)
    if foreign or not (folder / MARK).is_file():
        named = f": {foreign[:5]}" if foreign else ""
        raise DistillationError(
            f"the output folder {folder} holds files that no run of distilnlp wrote{named}. Choose an empty or new "
            "folder."
        )
    _check_links(folder)
    if not overwrite:
        _check_same_run(recipe, folder / RECIPE_FILE)


@contextmanager
def naming_the_disk(folder: Path) -> Iterator[None]:
    """Raise an `OSError` that names the folder where a disk is full, whichever library found out.

    A `DistillationError` passes as it is: it names what cannot be written, which the user can fix.
    """
    try:
        yield
    except DiskFullError as error:  # it names the disk, which may be another
        raise OSError(str(error).removesuffix(".")) from error
    except DistillationError:
        raise
    except Exception as error:
        reason = failed_write(error)
        if reason is None:
            raise
        text = " ".join(str(reason).split())
        raise OSError(f"{folder} cannot be written any more, make room there ({text})") from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make a folder a run's, and keep other runs out while this lasts; the system lets go of it when the process dies.

    Raises:
        DistillationError: another process is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    (folder / WORK).mkdir(exist_ok=True)
    lock = FileLock(folder / WORK / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DistillationError(
            f"another process is at work in {folder}. Wait until it has ended, or choose another output."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def claimed(recipe: Recipe, overwrite: bool) -> Iterator[None]:
    """Make the folder that `check_folder` has passed this run's, and work alone in it while this lasts.

    Args:
        recipe: names the folder, and is written into it.
        overwrite: delete what an earlier run wrote, and nothing else.

    Raises:
        DistillationError: another process is at work there.
    """
    folder = Path(recipe.output)
    with alone_in(folder):
        if overwrite:
            for path in (*(folder / name for name in OUTPUTS), *folder.glob(f"{WORK}/*")):
                if path.name != LOCK:
                    remove(path)
        for name in (f"{RECIPE_FILE}{PARTIAL}", f"{WORK}/*{PARTIAL}", f"{HISTORY}/*{PARTIAL}"):
            for path in folder.glob(name):
                remove(path)  # a kill left it half written
        write_text(folder / RECIPE_FILE, write_yaml(recipe.model_dump(mode="json")))
        yield


def _check_links(folder: Path) -> None:
    """Refuse links inside a run's folder: what is finished is moved there, which works on one disk alone."""
    inside = (folder, *(folder / name for name in (WORK, FOLDS, MEMBERS, HISTORY)))
    links = [item for place in inside if place.is_dir() for item in place.iterdir() if item.is_symlink()]
    if links:
        raise DistillationError(
            f"the output folder {folder} must hold no links, but {links[0]} is one, to "
            f"{shortened(os.readlink(links[0]), 80)}. Remove it, or make the whole output folder a link."
        )


def _check_same_run(recipe: Recipe, written: Path) -> None:
    if not written.is_file():
        return  # killed before it wrote its recipe, or told by the user that it is this one
    before, now = _read(written), recipe.model_dump(mode="json")
    if not before:
        raise DistillationError(
            f"the recipe of the run in {written.parent} is damaged ({written}), so nothing tells which run it is. "
            "Delete that file if it is this one, choose another output, or add --overwrite to delete that run."
        )
    changed = [key for key, value in _identity(now).items() if value != _identity(before).get(key)]
    if changed:
        raise DistillationError(
            f"the output folder {written.parent} holds another run: {', '.join(changed)} differ from the recipe there "
            f"({written}). Choose another output, or add --overwrite to delete that run."
        )


def _check_can_be_folder(key: str, folder: Path) -> None:
    """Refuse what cannot be made or written; a file without a name is written, for permissions alone do not tell."""
    try:
        folder.resolve().is_dir()  # raises for a name that no file system takes
        nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
        if nearest.is_dir():
            tempfile.TemporaryFile(dir=nearest).close()
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links that go in a circle
        raise DistillationError(
            f"{key} must be a folder that can be written, but {shown(str(folder), 80)} cannot be one: {error}."
        ) from error
    if not nearest.is_dir():
        raise DistillationError(
            f"{key} must be a folder that can be written, but {nearest} is a file or a broken link. Choose another."
        )


def _named_cache(recipe: Recipe) -> Path | None:
    """Return the folder that `training.teacher_cache` names, if it does.

    Raises:
        DistillationError: it is in the home of a user that there is not.
    """
    kept = recipe.training.get("teacher_cache", AUTO)
    try:
        return named_folder(kept)
    except RuntimeError as error:
        raise DistillationError(f"training.teacher_cache must be a folder, but it is {kept}: {error}.") from error


def _check_named_cache(recipe: Recipe, folder: Path) -> None:
    kept = _named_cache(recipe)
    if kept is None:
        return
    _check_can_be_folder("training.teacher_cache", kept)
    if kept.resolve().is_relative_to(folder.resolve()):
        raise DistillationError(
            f"training.teacher_cache must be a folder outside of the output folder {folder}, which has a cache of its "
            f"own in {CACHE}/, but it is {kept}. Leave it out, or name another."
        )
    if kept.is_dir():
        check_cache_folder(kept)


def _check_sources_outside(recipe: Recipe, folder: Path) -> None:
    source = recipe.data.source
    files = (
        [source]
        if isinstance(source, str)
        else [file for value in source.values() for file in ([value] if isinstance(value, str) else value)]
    )
    models = [*recipe.teacher.models, *([recipe.student.model] if recipe.student.model else [])]
    for path in map(Path, [*models, *files, *recipe.data.unlabelled]):
        if path.exists() and path.resolve().is_relative_to(folder.resolve()):
            raise DistillationError(
                f"the output folder {folder} must not hold what the run reads, but {path} lies in it and could be "
                "deleted. Choose another output."
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except ValueError:  # no YAML, or not UTF-8
        content = None
    return content if isinstance(content, dict) else {}


def _section(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    section = recipe.get(name)
    return section if isinstance(section, dict) else {}


def _identity(recipe: dict[str, Any]) -> dict[str, Any]:
    data = {f"data.{key}": value for key, value in _section(recipe, "data").items() if key != "unlabelled"}
    teacher = {f"teacher.{key}": _section(recipe, "teacher").get(key) for key in ("model", "column")}
    return {**teacher, **data}
