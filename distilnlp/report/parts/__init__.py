"""What a report shows of each task; a new task is one more entry."""

from distilnlp.report.parts.classes import ChoicesPart, ClassesPart
from distilnlp.report.parts.labels import LabelsPart
from distilnlp.report.parts.masked import MaskedPart
from distilnlp.report.parts.part import TaskPart
from distilnlp.report.parts.questions import QuestionsPart
from distilnlp.report.parts.scores import ScoresPart
from distilnlp.report.parts.words import WordsPart

PARTS: dict[str, type[TaskPart]] = {
    "single_label_classification": ClassesPart,
    "multi_label_classification": LabelsPart,
    "regression": ScoresPart,
    "token_classification": WordsPart,
    "question_answering": QuestionsPart,
    "multiple_choice": ChoicesPart,
    "masked_lm": MaskedPart,
}

__all__ = ["PARTS", "TaskPart"]
