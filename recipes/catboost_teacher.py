"""A CatBoost teacher that reads what its student will not have, tuned and cross-fitted: a column of probabilities.

The student learns to tell the topic of a BBC document from the headline. The teacher also reads the article and what is
counted in it, which are at hand in training but not where the student serves. Five models share the labelled rows: each
learns from four fifths and answers the fifth that it has not seen; a row without a label gets the mean of the five.

For data of your own change the constants. A source that has its columns does not need `further_columns`.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from catboost import CatBoostClassifier
from datasets import Dataset, DatasetDict, load_from_disk
from datasets.fingerprint import Hasher
from filelock import FileLock
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss

from distilnlp.data import assign_folds, fingerprint, load_source
from distilnlp.signals import NO_FOLD, NO_LABEL
from distilnlp.tasks import SINGLE_LABEL_ROWS

SOURCE = "recipes/bbc_news.py:load"  # all that data.source may be
LABEL = "label"  # null = none
TEXT = "text"  # what the student reads
TEXTS = [TEXT, "article"]  # what the teacher reads: texts, ...
CATEGORIES = ["currency"]
NUMBERS = ["words", "figures", "quotation_marks", "capitals"]
ANSWERS = "teacher_probabilities"
FOLDS, TRIALS, SEED = 5, 10, 0
CACHE = Path(".cache/catboost_teacher")
OPTIONS: dict[str, Any] = {
    "loss_function": "MultiClass",
    "text_features": TEXTS,
    "cat_features": CATEGORIES,
    "feature_calcers": ["NaiveBayes", "BM25"],  # its bags of words take five times as long
    "has_time": True,  # keep the rows' order: CatBoost 1.2.10 shuffles for categories, and then its texts mean nothing
    "random_seed": SEED,
    "allow_writing_files": False,
    "verbose": False,
}
logger = logging.getLogger("distilnlp.catboost_teacher")


def load() -> DatasetDict:
    """Return the splits with the teacher's answers as a column: computed once, then read from disk."""
    rows = load_source(SOURCE).map(further_columns)
    # The key covers the rows and this file, so that other constants, or another search, are another teacher.
    folder = CACHE / Hasher.hash([Path(__file__).read_text(encoding="utf-8"), *map(fingerprint, rows.values())])
    with FileLock(f"{folder}.lock"):  # of several processes one trains, and the others wait
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            with_answers(rows).save_to_disk(unfinished)
            unfinished.rename(folder)
    return load_from_disk(folder)


def further_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Split a document into its headline, its article, and what is counted in the article."""
    headline, _, article = (row[TEXT] or "").partition("\n")
    words = article.split()
    return {
        TEXT: headline,
        "article": article,
        "currency": next((sign for sign in article if sign in "£$€"), "none"),
        "words": len(words),
        "figures": sum(word[0].isdigit() for word in words),
        "quotation_marks": article.count('"'),
        "capitals": sum(word[0].isupper() for word in words),
    }


def with_answers(rows: DatasetDict) -> DatasetDict:
    """Tune and train the models, and add their answers to every split."""
    empty = dict.fromkeys([*TEXTS, *CATEGORIES], "")  # CatBoost refuses a text or category that is null
    columns = {split: data.to_pandas()[[*TEXTS, *CATEGORIES, *NUMBERS]].fillna(empty) for split, data in rows.items()}
    labels = pd.factorize(rows["train"].to_pandas()[LABEL], sort=True)[0]  # -1 = none
    known = labels >= 0
    # Rows of equal text share a fold, labelled or not: so no model answers a copy of what it learned from.
    keys = Dataset.from_dict({"text": columns["train"][TEXT], "label": np.where(known, labels, NO_LABEL)})
    folds = {split: np.full(len(data), NO_FOLD) for split, data in rows.items()}
    folds["train"] = assign_folds(keys, SINGLE_LABEL_ROWS, FOLDS, SEED)
    models = tuned_models(columns["train"][known], labels[known], folds["train"][known])
    answers = {split: ask(models, columns[split], folds[split]).tolist() for split in rows}
    return DatasetDict({split: data.add_column(ANSWERS, answers[split]) for split, data in rows.items()})


def tuned_models(features: pd.DataFrame, labels: NDArray, folds: NDArray) -> list[CatBoostClassifier]:
    """Return a model for each fold, trained with the options whose cross-validated log loss was the least."""

    def loss_of(trial: optuna.Trial) -> float:
        options = {
            "iterations": trial.suggest_int("iterations", 50, 300, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "depth": trial.suggest_int("depth", 2, 4),
            "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 1, 10, log=True),
        }
        return log_loss(labels, ask(cross_fit(features, labels, folds, options), features, folds))

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED))
    study.optimize(loss_of, n_trials=TRIALS)
    models = cross_fit(features, labels, folds, study.best_params)
    accuracy = 100 * accuracy_score(labels, ask(models, features, folds).argmax(axis=1))
    logger.info("the teacher, cross-validated: log loss %.3f, accuracy %.1f %%", study.best_value, accuracy)
    return models


def cross_fit(features: pd.DataFrame, labels: NDArray, folds: NDArray, options: dict) -> list[CatBoostClassifier]:
    """Train model k on all rows but those of fold k."""
    order = np.random.default_rng(SEED).permutation(len(labels))  # in place of CatBoost's own
    others = [order[folds[order] != fold] for fold in range(FOLDS)]
    return [CatBoostClassifier(**OPTIONS, **options).fit(features.iloc[rows], labels[rows]) for rows in others]


def ask(models: list[CatBoostClassifier], features: pd.DataFrame, folds: NDArray) -> NDArray:
    """Return probabilities `[rows, classes]`: model k's of a row in fold k, the mean of all for a row in none."""
    each = [model.predict_proba(features) for model in models]
    answers = np.mean(each, axis=0)
    for fold, own in enumerate(each):
        answers[folds == fold] = own[folds == fold]
    return answers
