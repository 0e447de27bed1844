"""`distilnlp.distill`: the command of the same name as a function, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from distilnlp.errors import DistillationError
from distilnlp.evaluation import terminal_rows, terminal_table
from distilnlp.recipe.sections import Recipe
from distilnlp.recipe.text import recipe_values
from distilnlp.runs.folder import REPORT
from distilnlp.runs.provenance import called
from distilnlp.runs.runner import run
from distilnlp.screen import Mode, hush_libraries, use
from distilnlp.tasks import TASKS
from distilnlp.validation import parse_section


@dataclass(frozen=True)
class DistillationResult:
    """What a run has made; shown, it is the verdict and the table of its figures.

    Attributes:
        output: folder of the run.
        results: the content of its `results.json`: `models`, `verdict`, `rows`, `seconds`, …; see docs/recipes.md.
    """

    output: Path
    results: Mapping[str, Any] = field(repr=False)

    @property
    def student(self) -> Path:
        """Folder of the student, which `from_pretrained` loads."""
        return self.output / "student"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.output / REPORT

    def pipeline(self, **options: Any) -> Any:
        """Return the student as a `transformers` pipeline, ready to be called with texts.

        Args:
            options: of `transformers.pipeline`.
        """
        import transformers

        make: Any = transformers.pipeline
        return make(TASKS[self.results["task"]].pipeline_tag, model=str(self.student), **options)

    def __repr__(self) -> str:
        said = "\n".join(f"- {sentence}" for sentence in self.results["verdict"])
        return (
            f"{said}\n\n{terminal_table(self.results['models'])}\n\nstudent   {self.student}\nreport    {self.report}"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        models = self.results["models"]
        cell = Markup("<td style='text-align:right'>{}</td>")
        rows = [
            Markup("<tr><td style='text-align:left'>{}</td>{}</tr>").format(
                title, Markup("").join(map(cell.format, own))
            )
            for title, own in [("", list(models)), *terminal_rows(models)]
        ]
        said = Markup("").join(Markup("<li>{}</li>").format(sentence) for sentence in self.results["verdict"])
        return Markup("<ul>{}</ul><table>{}</table><p>student: <code>{}</code>, report: <code>{}</code></p>").format(
            said, Markup("").join(rows), self.student, self.report
        )


def distill(
    teacher: str | Path | Mapping[str, Any],
    data: str | Path | Mapping[str, Any],
    output: str | Path,
    *,
    overwrite: bool = False,
    screen: Mode = "auto",
    **keys: Any,
) -> DistillationResult:
    """Distil a teacher on data, as `distilnlp distill --teacher --data --output` does, and measure the student.

    Called again with the same arguments it goes on where it stopped, or returns what is finished.

    Args:
        teacher: local folder or Hub id of the teacher, or the section `teacher` of a recipe, as a mapping with `model`.
        data: a file, a folder, a Hub id or `{split: file}`; or the section `data` of a recipe, as a mapping with
            `source`.
        output: folder of the run.
        overwrite: delete what another run left in the folder.
        screen: `auto` shows what goes on; `quiet`, `verbose` and `json` as the flags of the command.
        keys: the other keys of a recipe: `baseline=True`, `training={"num_train_epochs": 3}`,
            `student={"num_layers": 2}`, `seed=1`, `task="regression"`; docs/recipes.md lists them.

    Raises:
        DistillationError: something does not fit; before any training.
        OSError: a disk is full or broken; what was finished is kept.
    """
    given = {
        **_section("teacher", "model", teacher),
        **_section("data", "source", data),
        "output": output,
        **keys,
    }
    use(screen)
    hush_libraries(screen)
    recipe = parse_section(Recipe, recipe_values(None, _with_texts(given)))
    plain = {name: _with_texts(value) for name, value in {"teacher": teacher, "data": data, "output": output}.items()}
    with called("distilnlp.distill", *plain.values(), **_with_texts(keys)):
        return DistillationResult(Path(recipe.output), run(recipe, overwrite=overwrite))


def _with_texts(value: Any) -> Any:
    """Return values with paths as texts, as a recipe has them."""
    if isinstance(value, Mapping):
        return {key: _with_texts(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(own) for own in value]
    return str(value) if isinstance(value, Path) else value


def _section(name: str, key: str, value: Any) -> dict[str, Any]:
    """Return a section of a recipe: as it is given, or with the one key that it is about."""
    if isinstance(value, Mapping):
        return {name: dict(value)} if key in value else {f"{name}.{key}": dict(value)}
    if isinstance(value, str | Path | list | tuple):
        return {f"{name}.{key}": value}
    fix = {
        "teacher": "Save it and its tokenizer to a folder by `save_pretrained`, and give the folder",
        "data": "Save it to a file or folder (`to_csv`, `to_json`, `save_to_disk`), and give that",
    }
    raise DistillationError(f"{name} must be a name or a path, but got {type(value).__name__}. {fix[name]}.")
