"""The model card in the student's folder: what it is, what it kept, how to use it, what it cannot, whose methods."""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import HTTPError

from distilnlp import losses
from distilnlp.evaluation import INT8_STUDENT, summary_table
from distilnlp.files import write_text
from distilnlp.runs.exporting import Export
from distilnlp.runs.plan import Plan
from distilnlp.runs.pushing import is_offline
from distilnlp.serving import INT8
from distilnlp.training.card import CARD, TAGS, objective_text, public_name

TEMPLATE = Path(__file__).with_name("model_card.md")
ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
MISTRUSTED = 0.05  # calibration error from which on a word is said


def write_model_card(path: Path, plan: Plan, results: dict[str, Any], exported: Export | None) -> None:
    """Write the card of the student, with the results in its metadata too.

    Args:
        path: of the card.
        plan: of the run.
        results: content of its `results.json`.
        exported: what became of the export to ONNX; None = there was none.
    """
    task, student = plan.task, results["models"]["student"]
    name, inherited = Path(plan.recipe.output).name, _of_teachers(plan)
    card = ModelCard.from_template(
        _metadata(plan, name, student, inherited),
        template_path=str(TEMPLATE),
        name=name,
        config=plan.student.config,
        task=task.name.replace("_", " "),
        label_names=plan.data.label_names,
        teacher=_teacher(plan),
        auto_class=task.auto_class.__name__ if task.pipeline_options is None else None,
        options=task.pipeline_options and f", {task.pipeline_options}",
        is_classifier=task.pipeline_tag == "text-classification",
        graphs=() if exported is None else tuple(exported.graphs),
        has_int8=exported is not None and f"onnx/{Path(INT8).name}" in exported.graphs,
        table=summary_table(results["models"]),
        max_length=plan.max_length,
        objective=objective_text(plan.student_args),
        labelled_by=student["labelled_by"],
        limitations=list(_limitations(plan, results)),
        citations=_citations(plan),
        licence=plan.recipe.push_to_hub.licence or inherited.get("license"),
        **{key: results[key] for key in ("verdict", "rows", "environment")},
    )
    write_text(path, str(card))


def _metadata(plan: Plan, name: str, student: Mapping[str, Any], inherited: Mapping[str, Any]) -> ModelCardData:
    task, source = plan.task, plan.recipe.data.source
    data = source.split(":")[0] if isinstance(source, str) and _is_on_hub(source.split(":")[0]) else None
    of_result: dict[str, Any] = {"task_type": task.pipeline_tag, "dataset_type": data or "local"}
    of_result["dataset_name"] = data or "local"
    measured = {
        metric: figures
        for metric, figures in student["metrics"].items()
        if figures["value"] is not None and student["labelled_by"] is None
    }
    base = [each for each in plan.recipe.teacher.models if _is_on_hub(each)] or inherited.get("base_model")
    return ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag=task.pipeline_tag,
        tags=list(TAGS),
        license=plan.recipe.push_to_hub.licence or inherited.get("license"),
        language=inherited.get("language"),
        base_model=base,
        base_model_relation="finetune" if base else None,  # the nearest of the relations that the Hub knows
        datasets=[data] if data else None,
        metrics=list(measured) or None,
        eval_results=[
            EvalResult(
                metric_type=metric,
                metric_value=round(figures["value"], 4),
                metric_args={"confidence_interval_95": [_rounded(figures["low"]), _rounded(figures["high"])]},
                **of_result,
            )
            for metric, figures in measured.items()
        ]
        or None,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _of_teachers(plan: Plan) -> dict[str, Any]:
    """Return what the student takes over of its first teacher's card: licence, language, what it was made of."""
    for name in plan.recipe.teacher.models[:1]:
        card = Path(name) / CARD
        try:
            if not card.is_file() and (Path(name).exists() or is_offline()):
                return {}
            data = ModelCard.load(card if card.is_file() else name).data.to_dict()
        except (HTTPError, OSError, ValueError):  # no card, no network, or one that cannot be read: there is none
            return {}
        return {key: data[key] for key in ("license", "language", "base_model") if data.get(key)}
    return {}


def _limitations(plan: Plan, results: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the evaluation says that the student cannot, or that it does not know."""
    student, count = results["models"]["student"], f"{results['rows']['test']:,}"
    yield f"It was measured on {count} rows of one data set. Other kinds of text were not tried."
    text = student["text"]
    if text and text["cut"] is not None:
        yield f"A text is cut after {text['max_length']} tokens; of the test rows {text['cut']:.1%} were longer."
    agreement = (student["fidelity"] or {}).get("agreement")
    if agreement is not None:
        yield f"To {1 - agreement:.1%} of these rows it answers otherwise than its teacher, whose mistakes it shares."
    error = student["calibration_error"]
    if error is not None and error >= MISTRUSTED:
        yield f"Its probabilities are off by {error:.1%} on average: do not read them as chances."
    if INT8_STUDENT in results["models"]:
        yield "The graph in int8 rounds: a few answers differ from those of fp32, see the table."
    if plan.data.label_names:
        yield (
            "It knows these labels alone and gives one to any text, also where none fits."
            if (plan.task.name == "single_label_classification")
            else "It knows these labels alone."
        )


def _citations(plan: Plan) -> list[str]:
    """Return the papers of the losses of the objective, as their functions name them."""
    args = plan.student_args
    names = [*(["forward_kl"] if args.soft_loss_weight else []), *(loss.name for loss in args.parsed_losses)]
    found = []
    for name in dict.fromkeys(names):
        said = ARXIV.findall(inspect.getdoc(getattr(losses, name, None)) or "")
        found += [f"`{name}`: [arXiv {number}](https://arxiv.org/abs/{number})" for number in said[:1]]
    return found


def _is_on_hub(name: str) -> bool:
    return not Path(name).exists()


def _teacher(plan: Plan) -> str:
    """Say what the student learned from."""
    config = plan.recipe.teacher
    if config.columns:
        return f"answers given in the data ({', '.join(config.columns)})"
    return " and ".join(f"`{public_name(name)}`" for name in config.models)
