"""The model card in the student's folder: what it is, what it kept, what it saves, how to load it."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from distilnlp.evaluation import summary_table
from distilnlp.recipe import build_arguments
from distilnlp.runs.plan import Plan

TEMPLATE = """---
{metadata}
---

# {name}

A {shape} student for text classification ({labels}), distilled from `{teacher}` with distilnlp.

```python
from transformers import pipeline

classify = pipeline("text-classification", model="path/to/this/folder", truncation=True)
classify("...")
```

## Results

Measured on {test:,} labelled rows that the distillation did not train on (a teacher that was trained before may have
seen them); intervals are 95% bootstrap intervals over these rows. Agreement and KL compare with the teacher. Latency is
of one text, throughput of batches of 32, without tokenisation, on {device}.

{table}

## Training

{train:,} rows, {labelled:,} of them with a label, cut after {max_length} tokens. Objective:
{objective}.

Versions: {versions}.
"""


def write_model_card(folder: Path, plan: Plan, results: dict[str, Any]) -> None:
    """Write `README.md` into the student's folder, with the results in its metadata too."""
    student = results["models"]["student"]
    teacher = plan.recipe.teacher.model
    metadata = ModelCardData(
        model_name=Path(plan.recipe.output).name,
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["distilnlp", "knowledge-distillation"],
        base_model=None if Path(teacher).expanduser().exists() else teacher,
        eval_results=[_eval_result(name, figures["value"], plan) for name, figures in student["metrics"].items()],
    )
    environment = dict(results["environment"])
    text = TEMPLATE.format(
        metadata=metadata.to_yaml(),
        name=Path(plan.recipe.output).name,
        shape=f"{plan.student.config.num_hidden_layers}-layer {plan.student.config.model_type}",
        labels=", ".join(plan.data.label_names),
        # the last parts of a local path are enough: the rest tells about the machine
        teacher=teacher if metadata.base_model else "/".join(Path(teacher).parts[-2:]),
        table=summary_table(results["models"]),
        device=environment.pop("device"),
        max_length=plan.max_length,
        objective=_objective(plan),
        versions=", ".join(f"{package} {number}" for package, number in environment.items()),
        **results["rows"],
    )
    ModelCard(text).save(folder / "README.md")


def _eval_result(metric: str, value: float, plan: Plan) -> EvalResult:
    source = plan.recipe.data.source
    data = source if isinstance(source, str) and not Path(source.split(":")[0]).exists() else "local"
    return EvalResult(
        task_type="text-classification",
        dataset_type=data.split(":")[0],
        dataset_name=data.split(":")[0],
        metric_type=metric,
        metric_value=round(value, 4),
    )


def _objective(plan: Plan) -> str:
    args = build_arguments(plan.trainings["student"], plan.recipe.seed, Path(plan.recipe.output))
    parts = [f"{args.hard_loss_weight} x hard loss", f"{args.soft_loss_weight} x soft loss"]
    parts += [f"{loss.weight} x {loss.name}" for loss in args.parsed_losses]
    return " + ".join(parts) + f", temperature {args.temperature}"
