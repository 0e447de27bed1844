"""One page that shows what runs have made: `report.html`, which needs nothing beside itself."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from distilnlp.errors import DistillationError
from distilnlp.files import unique_tails, write_text
from distilnlp.metrics.figure import UNDEFINED
from distilnlp.report.evidence import STUDENT, Evidence
from distilnlp.report.parts import PARTS
from distilnlp.report.section import Section
from distilnlp.report.sections import common_sections, comparison_section

TEMPLATE = "page.html.jinja"


def write_report(folders: Sequence[str | Path], path: Path) -> None:
    """Write the report of one run, or of several beside one another.

    Args:
        folders: of finished runs, at least one.
        path: of the page.

    Raises:
        DistillationError: a folder holds no finished run.
    """
    if not folders:
        raise DistillationError("expected at least one run to report on, but got none. Give its output folder.")
    runs = [Evidence.of(folder) for folder in folders]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    names = unique_tails([str(run.folder.resolve()) for run in runs])
    shown = [(name, _origin(run), _facts(run), _sections(run)) for name, run in zip(names, runs, strict=True)]
    together = comparison_section(dict(zip(names, runs, strict=True))) if len(runs) > 1 else None
    page = environment.get_template(TEMPLATE).render(title=" and ".join(names), runs=shown, together=together)
    write_text(path, page + "\n")


def _sections(run: Evidence) -> list[Section]:
    return list(common_sections(run, PARTS[run.task](run)))


def _origin(run: Evidence) -> str:
    """Say what was distilled from what, and on what."""
    teacher, rows = run.recipe.get("teacher", {}), run.results["rows"]
    models = teacher.get("model") or "answers in the data"
    is_unlabelled = run.predictions.labelled_by is not None
    named = ", ".join(models) if isinstance(models, list) else models
    return (
        f"A student for {run.task.replace('_', ' ')}, distilled from {named}"
        f"{', which was fine-tuned first' if teacher.get('finetune') else ''}, on {rows['train']:,} texts, of which "
        f"{rows['labelled']:,} have a label; measured on {rows['test']:,} others"
        f"{', of which none has one: what the teacher answers counts as right' * is_unlabelled}."
    )


def _facts(run: Evidence) -> list[tuple[str, str]]:
    """Return what a reader wants to know first: figures, each with what it is."""
    student, teacher = run.models[STUDENT], run.models.get("teacher")
    value = student["metrics"][run.metric]["value"]
    is_unlabelled = run.predictions.labelled_by is not None
    name = run.metric_title if is_unlabelled else run.metric.replace("_", " ")
    facts = [(name, UNDEFINED if value is None else f"{value:.3f}")]
    if teacher is not None:
        ratio = student["comparisons"]["teacher"]["ratio"]["value"]
        facts += [] if is_unlabelled else [("of its teacher's", UNDEFINED if ratio is None else f"{ratio:.1%}")]
        facts += [("smaller", f"{teacher['bytes'] / student['bytes']:.2g}×")]
        if student["speed"] and teacher["speed"]:
            speed_up = teacher["speed"]["latency_ms_median"] / student["speed"]["latency_ms_median"]
            facts += [("as fast", f"{speed_up:.2g}×")]
    facts += [("parameters", f"{student['parameters']['total'] / 1e6:.1f} M")]
    return facts
