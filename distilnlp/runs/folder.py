"""The folder of a run: claimed by one run, refused to another."""

from pathlib import Path
from typing import Any

import yaml

from distilnlp.errors import DistillationError
from distilnlp.recipe import Recipe
from distilnlp.runs.stages import remove

RECIPE_FILE = "recipe.yaml"


def check_folder(recipe: Recipe) -> None:
    """Refuse an output folder that holds something else than this run.

    A run is the same as long as the teacher's model and the labelled data are: other changes make the stages that they
    concern start anew, and the others are reused.

    Raises:
        DistillationError: the folder holds another run, or files that no run wrote.
    """
    folder = Path(recipe.output)
    if folder.is_file():
        raise DistillationError(f"output must be a folder, but {folder} is a file. Choose another output.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    written = folder / RECIPE_FILE
    if not written.is_file():
        raise DistillationError(
            f"the output folder {folder} holds files that no run of distilnlp wrote. Choose an empty or new folder."
        )
    before, now = yaml.safe_load(written.read_text(encoding="utf-8")), recipe.model_dump(mode="json")
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
    (folder / RECIPE_FILE).write_text(text, encoding="utf-8")
    return folder


def clear_folder(recipe: Recipe) -> None:
    """Delete what an earlier run wrote.

    Raises:
        DistillationError: the folder has files but no recipe, so no run of distilnlp wrote it.
    """
    folder = Path(recipe.output)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / RECIPE_FILE).is_file():
        raise DistillationError(f"--overwrite deletes runs only, and {folder} holds none (no {RECIPE_FILE}).")
    for item in folder.iterdir():
        remove(item)


def _identity(recipe: dict[str, Any]) -> dict[str, Any]:
    data = {f"data.{key}": value for key, value in recipe.get("data", {}).items() if key != "unlabelled"}
    return {"teacher.model": recipe.get("teacher", {}).get("model"), **data}
