"""Masked words: how likely each model finds what was masked."""

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from distilnlp.report.parts.part import NONE, TaskPart


class MaskedPart(TaskPart):
    """Losses and likeliest token ids of the masked positions of each text, and the ids that were masked."""

    score_title = "likelihood (minus the mean loss, in nats)"

    def row_scores(self, model: str) -> NDArray:
        return np.array([-own.losses.mean() if len(own.losses) else np.nan for own in self.by_model[model]])

    def differences(self) -> NDArray:
        """How many masked words they guess differently."""
        return np.array([float((one.best != two.best).sum()) for one, two in zip(*self.pair(), strict=True)])

    def answer(self, model: str, row: int) -> Markup:
        own = self.by_model[model][row]
        return escape(f"{(own.best == self.labels[row]).sum()} of {len(own.best)} right" if len(own.best) else NONE)

    def label(self, row: int) -> Markup:
        return escape(f"{len(self.labels[row])} masked")
