"""Measure a saved student, and its teacher beside it, on any data: `distilnlp evaluate`."""

from collections.abc import Collection

import torch
from transformers import AutoTokenizer

from distilnlp.data import DataConfig, evaluation_split
from distilnlp.data.pairs import same_words
from distilnlp.data.tokens import TokenRows
from distilnlp.evaluation import ModelReport, evaluate_models
from distilnlp.runs.lengths import readable_length, warn_of_misfit
from distilnlp.runs.loading import load_pretrained
from distilnlp.runs.models import collator_of, find_task, label_list, load_finished


def evaluate_saved(
    student: str,
    data: DataConfig,
    teacher: str | None = None,
    task: str | None = None,
    trusted: Collection[str] = (),
) -> dict[str, ModelReport]:
    """Measure a student, and its teacher if given, on labelled rows, each with its own tokenizer.

    Args:
        student: local folder or Hub id.
        data: where the rows are; of `test_split`, else of test, validation or train.
        teacher: local folder or Hub id; it comes first in the report and fidelity is measured against it.
        task: of both; None = what the student's head is for.
        trusted: names of the models whose own Python code may run.

    Raises:
        DistillationError: a model or the data cannot be loaded, or they do not fit together.
    """
    names = {"teacher": teacher, "student": student} if teacher else {"student": student}
    kind = find_task(task, student, trusted)
    models = {role: load_finished(name, kind, trusted) for role, name in names.items()}
    tokenizers = {role: load_pretrained(AutoTokenizer, name, trusted) for role, name in names.items()}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for model in models.values():
        model.to(device)  # type: ignore[arg-type]  # transformers wraps `to` in a way that hides its signature
    labels = label_list(next(iter(models.values())), kind)
    length = min(readable_length(data.max_length, tokenizers[role], model) for role, model in models.items())
    rows = evaluation_split(data, kind.rows, labels)
    for tokenizer in tokenizers.values():
        warn_of_misfit(tokenizer, length, kind.rows.texts(rows))
    tokenised = {
        role: kind.rows.encode(rows, tokenizer, length, "Tokenising", config=data, for_evaluation=True)
        for role, tokenizer in tokenizers.items()
    }
    if teacher and isinstance(kind.rows, TokenRows):  # of words, those that both have room for
        tokenised = dict(zip(tokenised, same_words(*tokenised.values()), strict=True))
    encoded = {role: list(own) for role, own in tokenised.items()}
    collators = {role: collator_of(kind, tokenizer, data) for role, tokenizer in tokenizers.items()}
    return evaluate_models(models, encoded, collators, reference="teacher" if teacher else None, task=kind.evaluation)
