"""The model card in the student's folder: what it is, what it kept, what it saves, how to load it."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from distilnlp.evaluation import summary_table
from distilnlp.files import write_text
from distilnlp.recipe.sections import build_arguments
from distilnlp.runs.plan import Plan
from distilnlp.tasks import Task

CARD = "README.md"  # where the Hub looks for it
TEMPLATE = """---
{metadata}
---

# {name}

A {shape} student for {task}{labels}, distilled from {teacher} with distilnlp.

```python
{usage}
```

## Results

{verdict}

Measured on {test:,} labelled rows that the distillation did not train on (a teacher that was trained before may have
seen them); intervals are 95% bootstrap intervals over these rows. Agreement and KL compare with the teacher. Latency
and throughput are without tokenisation, on {device}.

{table}

## Training

{train:,} rows, {labelled:,} of them with a label, cut after {max_length} tokens. Objective:
{objective}.

Versions: {versions}.
"""


PIPELINE = """from transformers import pipeline

predict = pipeline("{tag}", model="path/to/this/folder"{options})
predict("...")"""
AUTO_CLASS = """from transformers import AutoTokenizer, {auto_class}

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = {auto_class}.from_pretrained("path/to/this/folder")"""


def usage(task: Task) -> str:
    """Return the code that serves a student of a task."""
    if task.pipeline_options is None:
        return AUTO_CLASS.format(auto_class=task.auto_class.__name__)
    return PIPELINE.format(tag=task.pipeline_tag, options=task.pipeline_options and f", {task.pipeline_options}")


def write_model_card(path: Path, plan: Plan, results: dict[str, Any]) -> None:
    """Write the card of the student, with the results in its metadata too."""
    student = results["models"]["student"]
    teachers = plan.recipe.teacher.models
    metadata = ModelCardData(
        model_name=Path(plan.recipe.output).name,
        library_name="transformers",
        pipeline_tag=plan.task.pipeline_tag,
        tags=["distilnlp", "knowledge-distillation"],
        base_model=[name for name in teachers if _is_on_hub(name)] or None,
        eval_results=[
            _eval_result(name, figures["value"], plan)
            for name, figures in student["metrics"].items()
            if figures["value"] is not None
        ],
    )
    environment = dict(results["environment"])
    text = TEMPLATE.format(
        metadata=metadata.to_yaml(),
        name=Path(plan.recipe.output).name,
        shape=_shape(plan.student.config),
        task=plan.task.name.replace("_", " "),
        labels=f" ({', '.join(plan.data.label_names)})" if plan.data.label_names else "",
        usage=usage(plan.task),
        teacher=_teacher(plan),
        verdict="\n".join(f"- {sentence}" for sentence in results["verdict"]),
        table=summary_table(results["models"]),
        device=environment.pop("device"),
        max_length=plan.max_length,
        objective=_objective(plan),
        versions=", ".join(f"{package} {number}" for package, number in environment.items()),
        **results["rows"],
    )
    write_text(path, str(ModelCard(text)))


def _shape(config: Any) -> str:
    layers = getattr(config, "num_hidden_layers", None)
    return f"{layers}-layer {config.model_type}" if layers else str(config.model_type)


def _is_on_hub(name: str) -> bool:
    return not Path(name).exists()


def _teacher(plan: Plan) -> str:
    """Say what the student learned from; of a local path the last parts, for the rest tells about the machine."""
    config = plan.recipe.teacher
    if config.columns:
        return f"answers given in the data ({', '.join(config.columns)})"
    names = [name if _is_on_hub(name) else "/".join(Path(name).parts[-2:]) for name in config.models]
    return " and ".join(f"`{name}`" for name in names)


def _eval_result(metric: str, value: float, plan: Plan) -> EvalResult:
    source = plan.recipe.data.source
    data = source if isinstance(source, str) and not Path(source.split(":")[0]).exists() else "local"
    return EvalResult(
        task_type=plan.task.pipeline_tag,
        dataset_type=data.split(":")[0],
        dataset_name=data.split(":")[0],
        metric_type=metric,
        metric_value=round(value, 4),
    )


def _objective(plan: Plan) -> str:
    args = build_arguments(plan.trainings["student"], plan.recipe.seed, Path(plan.recipe.output))
    parts = [f"{args.hard_loss_weight} x hard loss", f"{args.soft_loss_weight} x soft loss"]
    parts += [f"{loss.weight} x {loss.name}" for loss in args.parsed_losses]
    text = " + ".join(parts) + f", temperature {args.temperature}"
    if args.schedules:
        text += f", schedules {json.dumps(args.schedules)}"
    return text + (", each weight divided by the running size of its loss" if args.balance_losses else "")
