"""Students: models cut out of a teacher, so that distillation starts from what the teacher already knows."""

from distilnlp.students.build import build_student
from distilnlp.students.layers import LayerStrategy, select_layers

__all__ = ["LayerStrategy", "build_student", "select_layers"]
