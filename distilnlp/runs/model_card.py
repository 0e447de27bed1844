"""The model card in the student's folder: what it is, what it kept, what it saves, how to load it."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from distilnlp.evaluation import summary_table
from distilnlp.files import write_text
from distilnlp.runs.plan import Plan
from distilnlp.training.card import TAGS, objective_text, public_name

TEMPLATE = Path(__file__).with_name("model_card.md")


def write_model_card(path: Path, plan: Plan, results: dict[str, Any]) -> None:
    """Write the card of the student, with the results in its metadata too."""
    task, teachers, source = plan.task, plan.recipe.teacher.models, plan.recipe.data.source
    data = source.split(":")[0] if isinstance(source, str) and _is_on_hub(source.split(":")[0]) else "local"
    of_result: dict[str, Any] = {"task_type": task.pipeline_tag, "dataset_type": data, "dataset_name": data}
    name = Path(plan.recipe.output).name
    metadata = ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag=task.pipeline_tag,
        tags=list(TAGS),
        base_model=[name for name in teachers if _is_on_hub(name)] or None,
        eval_results=[
            EvalResult(metric_type=metric, metric_value=round(figures["value"], 4), **of_result)
            for metric, figures in results["models"]["student"]["metrics"].items()
            if figures["value"] is not None and results["models"]["student"]["labelled_by"] is None
        ]
        or None,
    )
    card = ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATE),
        name=name,
        config=plan.student.config,
        task=task.name.replace("_", " "),
        label_names=plan.data.label_names,
        teacher=_teacher(plan),
        auto_class=task.auto_class.__name__ if task.pipeline_options is None else None,
        options=task.pipeline_options and f", {task.pipeline_options}",
        table=summary_table(results["models"]),
        max_length=plan.max_length,
        objective=objective_text(plan.student_args),
        labelled_by=results["models"]["student"]["labelled_by"],
        **{key: results[key] for key in ("verdict", "rows", "environment")},
    )
    write_text(path, str(card))


def _is_on_hub(name: str) -> bool:
    return not Path(name).exists()


def _teacher(plan: Plan) -> str:
    """Say what the student learned from."""
    config = plan.recipe.teacher
    if config.columns:
        return f"answers given in the data ({', '.join(config.columns)})"
    return " and ".join(f"`{public_name(name)}`" for name in config.models)
