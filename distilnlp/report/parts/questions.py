"""Questions with an answer in a context: the answers in their context."""

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from distilnlp.errors import shortened
from distilnlp.report.evidence import STUDENT
from distilnlp.report.parts.part import NONE, TaskPart
from distilnlp.signals import CONTEXT, QUESTION
from distilnlp.tasks.question_answering.scores import answer_f1

WITHOUT = "no answer"
AROUND = 240  # characters of the context on either side of the student's answer


class QuestionsPart(TaskPart):
    """Answers as texts, and for each question the texts that are right; none = no label."""

    score_title = "F1"

    def row_scores(self, model: str) -> NDArray:
        pairs = zip(self.by_model[model], self.labels, strict=True)
        return np.array([max((answer_f1(own, one) for one in right), default=np.nan) for own, right in pairs])

    def differences(self) -> NDArray:
        """How few words their answers share."""
        return np.array(
            [1 - answer_f1(*pair) if pair[0] != pair[1] else 0.0 for pair in zip(*self.pair(), strict=True)]
        )

    def text(self, row: int) -> Markup:
        """Return the question, and the context around the student's answer, which is marked."""
        own, answer = self.evidence.rows[row], self.by_model[STUDENT][row]
        context, place = own[CONTEXT], own[CONTEXT].find(answer) if answer else -1
        question = Markup("<strong>{}</strong><br>").format(own[QUESTION])
        if place < 0:
            return question + escape(shortened(context, 2 * AROUND))
        end = place + len(answer)
        before, after = context[max(0, place - AROUND) : place], context[end : end + AROUND]
        left, right = "…" * (place > AROUND), "…" * (len(context) > end + AROUND)
        return question + Markup("{}{}<mark>{}</mark>{}{}").format(left, before, answer, after, right)

    def answer(self, model: str, row: int) -> Markup:
        return escape(shortened(self.by_model[model][row], 200) or WITHOUT)

    def label(self, row: int) -> Markup:
        texts = dict.fromkeys(text or WITHOUT for text in self.labels[row])
        return escape("; ".join(texts) or NONE)
