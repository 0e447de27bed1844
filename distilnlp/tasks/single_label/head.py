"""Single-label classification: a text is an item, and has one class."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig

from distilnlp.labels import align_dataset_labels
from distilnlp.tasks.collators import class_ids
from distilnlp.tasks.single_label.rows import SINGLE_LABEL_ROWS
from distilnlp.tasks.single_label.scores import SINGLE_LABEL_EVALUATION
from distilnlp.tasks.whole_rows import TextTask


class SingleLabelClassification(TextTask):
    """One class a text; labels are class ids `[batch]`, -100 = none."""

    name = "single_label_classification"
    problem_type = "single_label_classification"
    answer = "categorical"
    rows = SINGLE_LABEL_ROWS
    collate_labels = staticmethod(class_ids)
    evaluation = SINGLE_LABEL_EVALUATION
    pipeline_options = "truncation=True"

    def fits(self, config: PreTrainedConfig) -> bool:
        return config.problem_type in (None, self.problem_type) and self.num_classes(config) > 1

    def align_labels(self, dataset: Any, label_names: Sequence[str] | None, num_labels: int, split: str) -> Any:
        return align_dataset_labels(dataset, label_names, num_labels, split)


SINGLE_LABEL_CLASSIFICATION = SingleLabelClassification()
