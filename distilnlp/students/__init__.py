"""Students: models cut out of a teacher, so that distillation starts from what the teacher already knows."""

from distilnlp.students.build import build_student
from distilnlp.students.cost import Cost, estimate_cost
from distilnlp.students.importance import head_importance, neuron_importance
from distilnlp.students.layers import LayerStrategy, select_layers
from distilnlp.students.vocabulary import trim_vocabulary

__all__ = [
    "Cost",
    "LayerStrategy",
    "build_student",
    "estimate_cost",
    "head_importance",
    "neuron_importance",
    "select_layers",
    "trim_vocabulary",
]
