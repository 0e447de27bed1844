"""Tasks: what a head's logits mean. A new task is one more class, in a folder of its own, and an entry of `TASKS`."""

from typing import Any

from transformers import PreTrainedModel

from distilnlp.errors import DistillationError, did_you_mean
from distilnlp.models.families import num_neurons
from distilnlp.models.shapes import hidden_states_of
from distilnlp.signals import SignalProfile, label_names_of
from distilnlp.tasks.collators import Row, RowCollator, other_tokens, refuse_outside
from distilnlp.tasks.column_checks import NUMBERS, columns_of, is_tokenised, require_ids, token_ids_of
from distilnlp.tasks.masked_lm.head import MASKED_LM, MaskingCollator
from distilnlp.tasks.masked_lm.rows import MASKED_LM_ROWS
from distilnlp.tasks.masked_lm.scores import MASKED_LM_EVALUATION
from distilnlp.tasks.multi_label.head import MULTI_LABEL_CLASSIFICATION
from distilnlp.tasks.multi_label.rows import MULTI_LABEL_ROWS
from distilnlp.tasks.multi_label.scores import MULTI_LABEL_EVALUATION
from distilnlp.tasks.multiple_choice.head import MULTIPLE_CHOICE, ChoiceCollator
from distilnlp.tasks.multiple_choice.rows import CHOICE_ROWS
from distilnlp.tasks.multiple_choice.scores import CHOICE_EVALUATION
from distilnlp.tasks.question_answering.head import QUESTION_ANSWERING
from distilnlp.tasks.question_answering.rows import QUESTION_ROWS
from distilnlp.tasks.question_answering.scores import QUESTION_EVALUATION
from distilnlp.tasks.question_answering.windows import shown_windows
from distilnlp.tasks.regression.head import REGRESSION
from distilnlp.tasks.regression.rows import REGRESSION_ROWS
from distilnlp.tasks.regression.scores import REGRESSION_EVALUATION
from distilnlp.tasks.single_label.head import SINGLE_LABEL_CLASSIFICATION
from distilnlp.tasks.single_label.rows import SINGLE_LABEL_ROWS
from distilnlp.tasks.single_label.scores import (
    SINGLE_LABEL_EVALUATION,
    classification_scores,
    compute_classification_metrics,
)
from distilnlp.tasks.task import Answer, Task
from distilnlp.tasks.token_classification.head import TOKEN_CLASSIFICATION
from distilnlp.tasks.token_classification.rows import TOKEN_ROWS
from distilnlp.tasks.token_classification.scores import TOKEN_EVALUATION

__all__ = [
    "CHOICE_EVALUATION",
    "CHOICE_ROWS",
    "MASKED_LM",
    "MASKED_LM_EVALUATION",
    "MASKED_LM_ROWS",
    "MULTI_LABEL_EVALUATION",
    "MULTI_LABEL_ROWS",
    "NUMBERS",
    "QUESTION_EVALUATION",
    "QUESTION_ROWS",
    "REGRESSION_EVALUATION",
    "REGRESSION_ROWS",
    "SINGLE_LABEL_CLASSIFICATION",
    "SINGLE_LABEL_EVALUATION",
    "SINGLE_LABEL_ROWS",
    "TASKS",
    "TOKEN_EVALUATION",
    "TOKEN_ROWS",
    "Answer",
    "ChoiceCollator",
    "MaskingCollator",
    "Row",
    "RowCollator",
    "Task",
    "classification_scores",
    "columns_of",
    "compute_classification_metrics",
    "is_tokenised",
    "other_tokens",
    "profile_of",
    "refuse_outside",
    "require_ids",
    "shown_windows",
    "task_named",
    "task_of",
    "token_ids_of",
]

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        SINGLE_LABEL_CLASSIFICATION,
        MULTI_LABEL_CLASSIFICATION,
        REGRESSION,
        TOKEN_CLASSIFICATION,
        QUESTION_ANSWERING,
        MULTIPLE_CHOICE,
        MASKED_LM,
    )
}


# What people call a task, beside its name; capitals and hyphens are as good as small letters and underscores.
ALSO_CALLED = {
    "classification": SINGLE_LABEL_CLASSIFICATION,
    "text_classification": SINGLE_LABEL_CLASSIFICATION,
    "sequence_classification": SINGLE_LABEL_CLASSIFICATION,
    "single_label": SINGLE_LABEL_CLASSIFICATION,
    "multi_label": MULTI_LABEL_CLASSIFICATION,
    "multilabel": MULTI_LABEL_CLASSIFICATION,
    "sts": REGRESSION,
    "ner": TOKEN_CLASSIFICATION,
    "pos": TOKEN_CLASSIFICATION,
    "tagging": TOKEN_CLASSIFICATION,
    "qa": QUESTION_ANSWERING,
    "mlm": MASKED_LM,
    "fill_mask": MASKED_LM,
}


def task_named(name: str | None) -> Task:
    """Return a task by its name, or a short one; None, for what names no task, stands for single-label classification.

    Raises:
        DistillationError: there is no such task.
    """
    if name is None:
        return SINGLE_LABEL_CLASSIFICATION
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    known = {**ALSO_CALLED, **TASKS}
    if plain not in known:
        hint = did_you_mean(plain, known)
        raise DistillationError(
            f"there is no task {name!r}.{hint} The tasks are {list(TASKS)}; short names are {', '.join(ALSO_CALLED)}."
        )
    return known[plain]


def task_of(model: PreTrainedModel) -> Task:
    """Return the task that a model's head is for.

    Raises:
        DistillationError: no task has such a head.
    """
    config: Any = getattr(model, "config", None)
    for task in TASKS.values():
        if task.is_head_of(model) and task.fits(config):
            return task
    raise DistillationError(
        f"the tasks that can be distilled are {list(TASKS)}, but this model is a {type(model).__name__} with "
        f"problem_type={getattr(config, 'problem_type', None)!r} and {getattr(config, 'num_labels', 0)} label(s). Load "
        "it with the auto class of its task, such as AutoModelForSequenceClassification."
    )


def profile_of(model: PreTrainedModel) -> SignalProfile:
    """Tell what a transformers model can emit, by its config and its shapes."""
    config: Any = model.config
    task = task_of(model)
    num_hidden_states, hidden_size = hidden_states_of(model)
    window = getattr(config, "local_attention", None) or getattr(config, "sliding_window", None) or 0
    kinds = getattr(config, "layer_types", None) or ()  # of attention, where some layers are local
    return SignalProfile(
        label_names=label_names_of(config) if task.has_label_names else None,
        num_labels=task.num_classes(config),
        num_hidden_states=num_hidden_states,
        hidden_size=hidden_size,
        num_heads=getattr(config, "num_attention_heads", 0),
        num_neurons=num_neurons(config),
        model_type=config.model_type,
        task=task.name,
        attention_windows=tuple(0 if kind == "full_attention" else int(window) for kind in kinds),
    )
