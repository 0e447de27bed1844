"""Tagged words: entities with their spans, and what the student lost type by type."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from distilnlp.report.parts.part import TaskPart
from distilnlp.report.section import Section
from distilnlp.signals import NO_LABEL, WORDS

MOST_WORDS = 120  # of a sentence that is shown


class WordsPart(TaskPart):
    """Logits `[words, tags]` and tags `[words]` of each sentence, as far as the models read it."""

    score_title = "share of the words that are right"

    def row_scores(self, model: str) -> NDArray:
        scores = []
        for logits, ids in zip(self.by_model[model], self.labels.ids, strict=True):
            known = ids != NO_LABEL
            scores.append((logits.argmax(-1) == ids)[known].mean() if known.any() else np.nan)
        return np.array(scores)

    def differences(self) -> NDArray:
        """How many words they tag differently."""
        return np.array(
            [float((one.argmax(-1) != two.argmax(-1)).sum()) for one, two in zip(*self.pair(), strict=True)]
        )

    def text(self, row: int) -> Markup:
        return escape(" ".join(self.evidence.rows[row][WORDS][:MOST_WORDS]))

    def answer(self, model: str, row: int) -> Markup:
        return self._marked(row, self.by_model[model][row].argmax(-1))

    def label(self, row: int) -> Markup:
        return self._marked(row, self.labels.ids[row])

    def sections(self) -> Iterator[Section]:
        found = {name: [own.argmax(-1) for own in logits] for name, logits in self.by_model.items()}
        truth = [self._spans(ids) for ids in self.labels.ids]
        counts = {name: self._counted(ids, truth) for name, ids in found.items()}
        held = Counter(kind for spans in truth for kind, _, _ in spans)
        kinds = [(kind, held[kind], {name: own[kind] for name, own in counts.items()}) for kind in sorted(held)]
        said = ["F1 of the entities of each type: both borders and the type must be right."]
        yield Section("Type by type", said, tables=[self.lost_table(kinds, ["entity", "spans"], "types")])

    def _counted(self, found: Sequence[NDArray], truth: Sequence[set[tuple[str, int, int]]]) -> dict[str, float]:
        """Return the F1 of each type that the labels have."""
        right, total = Counter[str](), Counter[str]()
        for ids, labels, spans in zip(found, self.labels.ids, truth, strict=True):
            own = self._spans(np.where(labels == NO_LABEL, NO_LABEL, ids))
            right.update(kind for kind, _, _ in own & spans)
            total.update(kind for each in (own, spans) for kind, _, _ in each)
        return {kind: 2 * right[kind] / total[kind] for kind in total}

    def _spans(self, ids: NDArray) -> set[tuple[str, int, int]]:
        """Return type, first and last word of each entity; words without a tag are as if outside."""
        from seqeval.metrics.sequence_labeling import get_entities

        names = self.labels.names
        return set(get_entities(["O" if tag == NO_LABEL else str(names[tag]) if names else f"B-{tag}" for tag in ids]))

    def _marked(self, row: int, ids: NDArray) -> Markup:
        """Return the sentence with its entities marked."""
        words = self.evidence.rows[row][WORDS]
        starts = {first: (kind, last) for kind, first, last in self._spans(ids[: len(words)])}
        parts: list[Markup] = []
        place = 0
        while place < min(len(words), MOST_WORDS):
            kind, last = starts.get(place, ("", place))
            text = " ".join(words[place : last + 1])
            parts.append(Markup("<mark>{} <small>{}</small></mark>").format(text, kind) if kind else escape(text))
            place = last + 1
        return Markup(" ").join(parts)
