"""The card of a model that a trainer saves: what it is, what it learned from, how to load it."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers import PreTrainedModel

from distilnlp.files import write_text
from distilnlp.signals import label_names_of
from distilnlp.tasks import Task
from distilnlp.training.arguments import DistillationTrainingArguments
from distilnlp.training.history import BESIDE_FIGURES

CARD = "README.md"  # where the Hub looks for it
TAGS = ("distilnlp", "knowledge-distillation")
TEMPLATE = Path(__file__).with_name("card.md")
PACKAGES = ("distilnlp", "torch", "transformers")
NO_FIGURES = (*BESIDE_FIGURES, "learning_rate")


def write_short_card(
    folder: Path, model: PreTrainedModel, task: Task, teachers: Any, args: DistillationTrainingArguments, state: Any
) -> None:
    """Write the card of a saved model, unless one is there.

    Args:
        folder: of the model.
        model: as it was saved.
        task: of the model.
        teachers: what it learned from: a model, several, or anything else; None = labels alone.
        args: of the training.
        state: of the `Trainer`: the steps done, and what was logged.
    """
    if (folder / CARD).exists():
        return
    models = teachers if isinstance(teachers, list | tuple) else [] if teachers is None else [teachers]
    last: dict[str, Any] = {}
    for entry in state.log_history:
        last |= {name: value for name, value in entry.items() if name not in NO_FIGURES and isinstance(value, float)}
    card = ModelCard.from_template(
        ModelCardData(library_name="transformers", pipeline_tag=task.pipeline_tag, tags=list(TAGS)),
        template_path=str(TEMPLATE),
        name=folder.resolve().name,
        config=model.config,
        task=task.name.replace("_", " "),
        label_names=label_names_of(model.config) or (),
        teacher=" and ".join(map(_name_of, models)),
        auto_class=task.auto_class.__name__,
        steps=f"{state.global_step:,}",
        batch=args.per_device_train_batch_size * args.gradient_accumulation_steps,
        processes=args.world_size,
        learning_rate=args.learning_rate,
        objective=objective_text(args),
        figures=", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in last.items()),
        versions=", ".join(f"{package} {version(package)}" for package in PACKAGES),
    )
    write_text(folder / CARD, str(card))


def objective_text(args: DistillationTrainingArguments) -> str:
    """Say what a student is trained for."""
    parts = [f"{args.hard_loss_weight} x hard loss", f"{args.soft_loss_weight} x soft loss"]
    parts += [f"{loss.weight} x {loss.name}" for loss in args.parsed_losses]
    text = " + ".join(parts) + f", temperature {args.temperature}"
    if args.schedules:
        text += f", schedules {json.dumps(args.schedules)}"
    return text + (", each weight divided by the running size of its loss" if args.balance_losses else "")


def public_name(name: str) -> str:
    """Return what a model is called in a card: of a local path only its end, because the rest describes the machine."""
    return "/".join(Path(name).parts[-2:]) if Path(name).exists() else name


def _name_of(teacher: object) -> str:
    """Return what a teacher is called."""
    path = str(getattr(getattr(teacher, "config", None), "_name_or_path", "") or "")
    return f"`{public_name(path)}`" if path else f"a {type(teacher).__name__}"
