"""The folder of a run: claimed by one run, refused to another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from distilnlp.data.sources import as_list
from distilnlp.errors import DistillationError
from distilnlp.recipe import Recipe
from distilnlp.runs.stages import WORK, remove, write_text
from distilnlp.teacher_cache import AUTO, OFF

RECIPE_FILE = "recipe.yaml"
CACHE = "cache"
FOLDS = "teacher_folds"
MEMBERS = "teachers"
OWN_FILES = {RECIPE_FILE, WORK, "teacher", FOLDS, MEMBERS, CACHE, "student", "baseline", "results.json"}


def check_folder(recipe: Recipe, overwrite: bool = False) -> None:
    """Refuse an output folder that holds something else than this run.

    A run is the same as long as the teacher's models, or the columns of its answers, and the labelled data are: other
    changes make the stages that they concern start anew, and the others are reused.

    Args:
        recipe: names the folder.
        overwrite: another run may be there, for it will be deleted.

    Raises:
        DistillationError: the folder holds another run, or files that no run wrote, or what this run reads.
    """
    folder = Path(recipe.output)
    _check_writable(folder)
    _check_sources_outside(recipe, folder)
    if not folder.is_dir() or all(item.name == WORK for item in folder.iterdir()):
        return  # new, empty, or left by a run that was killed before it wrote its recipe
    written = folder / RECIPE_FILE
    if not written.is_file():
        raise DistillationError(
            f"the output folder {folder} holds files that no run of distilnlp wrote. Choose an empty or new folder."
        )
    foreign = sorted(item.name for item in folder.iterdir() if item.name not in OWN_FILES)
    if foreign:
        raise DistillationError(
            f"the output folder {folder} holds files that no run of distilnlp wrote: {foreign[:5]}. Choose an empty or "
            "new folder."
        )
    if overwrite:
        return
    before, now = _read(written), recipe.model_dump(mode="json")
    changed = [key for key, value in _identity(now).items() if value != _identity(before).get(key)]
    if changed:
        raise DistillationError(
            f"the output folder {folder} holds another run: {', '.join(changed)} differ from the recipe there "
            f"({written}). Choose another output, or add --overwrite to delete that run."
        )


def claim_folder(recipe: Recipe) -> Path:
    """Create the folder and write the resolved recipe into it."""
    folder = Path(recipe.output)
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(folder / RECIPE_FILE, text)
    return folder


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder while this lasts; the operating system lets go of it when the process dies.

    Raises:
        DistillationError: another process is at work there.
    """
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / WORK / "lock")
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


def clear_folder(recipe: Recipe) -> None:
    """Delete what an earlier run wrote, in a folder that `check_folder` has passed."""
    folder = Path(recipe.output)
    items = folder.iterdir() if folder.is_dir() else ()
    for item in sorted(items, key=lambda item: item.name == RECIPE_FILE):  # last: until then it is a run's folder
        if item.name != WORK:
            remove(item)
    for item in (folder / WORK).glob("*"):
        if item.name != "lock":
            remove(item)


def _check_writable(folder: Path) -> None:
    try:
        folder.resolve().is_dir()  # raises for a name that no file system takes
        nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
        is_fit = nearest.is_dir() and os.access(nearest, os.W_OK)
    except (OSError, ValueError) as error:
        raise DistillationError(f"output must be a folder, but {str(folder)!r:.80} cannot be one: {error}.") from error
    if not is_fit:
        raise DistillationError(
            f"output must be a folder that can be written, but {nearest} is a file, a broken link or not writable. "
            "Choose another output."
        )


def _check_sources_outside(recipe: Recipe, folder: Path) -> None:
    source = recipe.data.source
    files = [source] if isinstance(source, str) else [file for value in source.values() for file in as_list(value)]
    models = [*recipe.teacher.models, *([recipe.student.model] if recipe.student.model else [])]
    kept = recipe.training.get("teacher_cache", AUTO)
    if kept not in (AUTO, OFF) and Path(kept).expanduser().resolve().is_relative_to(folder.resolve()):
        raise DistillationError(
            f"training.teacher_cache must be a folder outside of the output folder {folder}, which has a cache of its "
            f"own in {CACHE}/, but it is {kept}. Leave it out, or name another."
        )
    for path in map(Path, [*models, *files, *recipe.data.unlabelled]):
        if path.exists() and path.resolve().is_relative_to(folder.resolve()):
            raise DistillationError(
                f"the output folder {folder} must not hold what the run reads, but {path} lies in it and could be "
                "deleted. Choose another output."
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):  # ValueError: not UTF-8
        content = None
    return content if isinstance(content, dict) else {}


def _section(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    section = recipe.get(name)
    return section if isinstance(section, dict) else {}


def _identity(recipe: dict[str, Any]) -> dict[str, Any]:
    data = {f"data.{key}": value for key, value in _section(recipe, "data").items() if key != "unlabelled"}
    teacher = {f"teacher.{key}": _section(recipe, "teacher").get(key) for key in ("model", "column")}
    return {**teacher, **data}
