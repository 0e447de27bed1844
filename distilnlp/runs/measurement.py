"""Measure a saved student, and its teacher beside it, on any data: `distilnlp evaluate`."""

from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from distilnlp.data import DataConfig, evaluation_split, tokenise
from distilnlp.errors import DistillationError
from distilnlp.evaluation import ModelReport, evaluate_models
from distilnlp.runs.plan import check_complete, load_pretrained, readable_length
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, task_of


def evaluate_saved(student: str, data: DataConfig, teacher: str | None = None) -> dict[str, ModelReport]:
    """Measure a student, and its teacher if given, on labelled rows.

    Args:
        student: local folder or Hub id.
        data: where the rows are; of `test_split`, else of test, validation or train.
        teacher: local folder or Hub id; it comes first in the report and fidelity is measured against it.

    Raises:
        DistillationError: a model or the data cannot be loaded, or they do not fit together.
    """
    names = {"teacher": teacher, "student": student} if teacher else {"student": student}
    models = {role: _load_complete(name) for role, name in names.items()}
    tokenizers = {role: load_pretrained(AutoTokenizer, name) for role, name in names.items()}
    _check_one_vocabulary(tokenizers)
    for model in models.values():
        task_of(model)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
    first = next(iter(models.values()))
    labels = [first.config.id2label[index] for index in range(first.config.num_labels)]
    tokenizer = next(iter(tokenizers.values()))
    length = min(readable_length(data, tokenizer, model.config) for model in models.values())
    rows = tokenise(evaluation_split(data, labels), tokenizer, length, "Tokenising")
    collator: Any = SINGLE_LABEL_CLASSIFICATION.collator(tokenizer)
    return evaluate_models(models, list(rows), collator, reference="teacher" if teacher else None)


def _load_complete(name: str) -> Any:
    model, report = load_pretrained(SINGLE_LABEL_CLASSIFICATION.auto_class, name, output_loading_info=True)
    check_complete(name, sorted(report["missing_keys"]))
    return model


def _check_one_vocabulary(tokenizers: dict[str, PreTrainedTokenizerBase]) -> None:
    vocabularies = [tokenizer.get_vocab() for tokenizer in tokenizers.values()]
    if any(vocabulary != vocabularies[0] for vocabulary in vocabularies):
        raise DistillationError(
            "the student and the teacher must have one vocabulary, but theirs differ. Measure them one at a time, each "
            "without --teacher."
        )
