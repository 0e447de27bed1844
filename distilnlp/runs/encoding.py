"""The rows of a run as a tokenizer reads them."""

from dataclasses import dataclass

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from distilnlp.data import labelled_rows
from distilnlp.errors import DistillationError
from distilnlp.labels import NO_LABEL
from distilnlp.runs.models import collator_of
from distilnlp.runs.plan import Plan


@dataclass(frozen=True)
class EncodedRows:
    """The run's rows as one tokenizer reads them."""

    tokenizer: PreTrainedTokenizerBase
    train: Dataset
    labelled: Dataset
    test: Dataset
    validation: Dataset | None

    @classmethod
    def of(cls, plan: Plan, tokenizer: PreTrainedTokenizerBase) -> "EncodedRows":
        """Tokenise what a plan has."""
        rows, data, config = plan.task.rows, plan.data, plan.recipe.data

        def encode(part: Dataset, name: str, for_evaluation: bool = False) -> Dataset:
            desc = f"Tokenising the {name} data"
            return rows.encode(part, tokenizer, plan.max_length, desc, config=config, for_evaluation=for_evaluation)

        collator_of(plan.task, tokenizer, config)  # refuses a tokenizer that the task cannot use
        train = encode(data.train, "training")
        validation = None if data.validation is None else encode(data.validation, "validation", True)
        test = encode(data.test, "test", True)
        _require_answers(test, plan)
        return cls(tokenizer, train, labelled_rows(train, rows), test, validation)


def _require_answers(test: Dataset, plan: Plan) -> None:
    """Refuse test rows of which no label is left once they are cut, before anything is trained for them."""
    if plan.task.rows.needs_labels:
        has_answers = bool(plan.task.rows.is_labelled(test).any())
    else:
        has_answers = any(label != NO_LABEL for labels in test["labels"] for label in labels)
    if not has_answers:
        raise DistillationError(
            f"no label of the test rows is left when they are cut after {plan.max_length} tokens, so there is nothing "
            "to measure. Raise data.max_length (masked language modelling: or data.mask_probability)."
        )
