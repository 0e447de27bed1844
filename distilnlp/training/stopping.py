"""How long the trainings on the labels alone last: until their score on rows that they do not learn stops rising.

The figures below were chosen on question types of 6 and 50 classes and on news topics: "How long a teacher trains" in
docs/results.md.
"""

import math
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distilnlp.data import RowFormat

EVALUATIONS = 20  # of the longest training
PATIENCE = 5  # evaluations without a score as good as the best
# A tenth of the labelled rows is held out, if these are enough to tell one checkpoint from another.
SHARE, FEWEST, MOST = 0.1, 20, 2000
# What a recipe sets of these, it decides itself, and nothing is held out.
BEST = {"load_best_model_at_end", "metric_for_best_model", "greater_is_better"}
OWN_LENGTH = {"max_steps", "num_train_epochs", "eval_strategy", "eval_steps", "save_strategy", "save_steps"} | BEST
VALIDATION, HELD_OUT = "validation", "held_out"  # the rows that tell when to stop


def longest_training(labelled: int, classes: int, batch_size: int) -> int:
    """Return how many epochs a teacher is trained at the most: many classes (0 = none) and few rows take long."""
    return max(3, math.ceil(max(300, 60 * classes) / (labelled / batch_size)))


def learning_rate(hidden_size: int) -> float:
    """Return a teacher's learning rate: the wider the model, the smaller. 1e-4 at 384, 5e-5 at 768."""
    return min(3e-4, 1e-4 * 384 / hidden_size)


def can_hold_out(labelled: int, classes: int) -> bool:
    """Whether a tenth of the labelled rows is enough to tell how good a model is, and every class keeps one."""
    return min(labelled * SHARE, labelled - classes) >= FEWEST


def hold_out(labelled: Dataset, rows: RowFormat, seed: int) -> tuple[Dataset, Dataset]:
    """Return the rows that are learned and those that tell when to stop; of every class at least one row is learned."""
    order = np.random.default_rng(seed).permutation(len(labelled))
    strata = rows.strata(labelled)
    one_a_class = np.zeros(0, dtype=int) if strata is None else np.unique(strata[order], return_index=True)[1]
    held = np.delete(order, one_a_class)[: min(int(len(labelled) * SHARE), MOST)]
    learned = np.setdiff1d(order, held)
    return labelled.select(learned), labelled.select(np.sort(held))


def stopping_arguments(metric: str) -> dict[str, Any]:
    """Return the arguments of a training that keeps its best checkpoint by a metric, as evaluations call it."""
    every = 1 / EVALUATIONS
    steps = {"eval_strategy": "steps", "eval_steps": every, "save_strategy": "steps", "save_steps": every}
    return {**steps, "load_best_model_at_end": True, "metric_for_best_model": metric}


class StopAtBest(TrainerCallback):
    """Stops a training whose score has not been as good as its best for `PATIENCE` evaluations.

    Of equal scores the later one is the best: on few rows many are equal, and the learning rate has fallen further. It
    has no state of its own, so that a training that was killed goes on as if it had not been.
    """

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Compare the score with those before it."""
        name, sign = f"eval_{args.metric_for_best_model}", 1 if args.greater_is_better else -1
        scores = [sign * entry[name] for entry in state.log_history if name in entry]
        if scores[-1] == max(scores):
            state.best_metric = None  # the Trainer takes only a higher one for better
        since_best = scores[::-1].index(max(scores))
        control.should_training_stop |= since_best >= PATIENCE
