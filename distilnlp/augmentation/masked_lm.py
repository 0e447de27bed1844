"""Words that a masked language model would put in a word's place (TinyBERT, arXiv 1909.10351, Algorithm 1)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.augmentation.method import MethodConfig, Resources, Words
from distilnlp.augmentation.token_methods import read_words, whole_words
from distilnlp.data import require_fast
from distilnlp.errors import DistillationError
from distilnlp.metrics.prediction import as_array, check_finite, evaluation_mode
from distilnlp.models.selected_head import head_on, logits_at
from distilnlp.signals import named_inputs, select_inputs
from distilnlp.tasks import MASKED_LM


class ReplaceWithMaskedLMConfig(MethodConfig):
    """Each word that is a single piece becomes one of a masked LM's likeliest words with this probability.

    The model sees the original text with this one word masked, and each of its `top_k` likeliest words is drawn as
    often; the word itself may be among them. Two things differ from the paper's algorithm. A text is read once and not
    again after each word that was replaced, as in the code of its authors. A word of several pieces stays, where the
    paper takes a word with a similar GloVe vector; a word that a punctuation mark sticks to is such a word.
    """

    name: Literal["replace_with_masked_lm"] = "replace_with_masked_lm"
    probability: float = Field(default=0.4, gt=0, le=1, description="chance of each word to be replaced")
    top_k: int = Field(default=15, ge=1, description="the likeliest words among which one is drawn")
    max_length: int = Field(
        default=256,
        ge=3,
        description="tokens of a text that the model reads, or the tokenizer's model_max_length where that is less; "
        "the words beyond stay as they are",
    )
    batch_size: int = Field(default=64, ge=1, description="masked texts that the model reads together")

    def build(self, resources: Resources) -> "MaskedLMRewriter":
        """Build the method."""
        tokenizer = resources.masking_tokenizer(self.name)
        require_fast(tokenizer, self.name)
        if resources.masked_lm is None:
            raise DistillationError(f"{self.name} needs a masked language model, but got none. Pass `masked_lm`.")
        if not MASKED_LM.is_head_of(resources.masked_lm):
            raise DistillationError(
                f"{self.name} needs a masked language model, but got a {type(resources.masked_lm).__name__}. Load one "
                "with AutoModelForMaskedLM."
            )
        largest, vocabulary = max(tokenizer.get_vocab().values()), resources.masked_lm.config.vocab_size
        if largest >= vocabulary:
            raise DistillationError(
                f"masked_lm has a vocabulary of {vocabulary}, but the tokenizer's ids go up to {largest}. Pass the "
                "model's own tokenizer."
            )
        return MaskedLMRewriter(self, tokenizer, resources.masked_lm)


class Blank(NamedTuple):
    """A word to predict: the index of its text, its own in the text, and the position of its piece."""

    text: int
    word: int
    position: int


class MaskedLMRewriter:
    """The method, built; the model keeps its device and its modes."""

    def __init__(
        self, config: ReplaceWithMaskedLMConfig, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
    ) -> None:
        self._config, self._tokenizer, self._model = config, tokenizer, model
        self._max_length = min(config.max_length, tokenizer.model_max_length)
        self._words = whole_words(tokenizer)
        self._ids = torch.tensor(sorted(self._words), device=model.device)

    def __call__(self, texts: Sequence[Words], generators: Sequence[Sequence[Generator]]) -> list[list[Words]]:
        """Rewrite each text once for each of its generators."""
        draws = [
            np.stack([generator.random((2, len(words))) for generator in own])
            for words, own in zip(texts, generators, strict=True)
        ]
        chosen = [own[:, 0] < self._config.probability for own in draws]  # bool [copies, words]
        candidates = self._predict(texts, chosen)
        return [
            [_fill(words, *copy, found) for copy in zip(own, draw[:, 1], strict=True)]
            for words, own, draw, found in zip(texts, chosen, draws, candidates, strict=True)
        ]

    def _predict(self, texts: Sequence[Words], chosen: Sequence[NDArray[np.bool_]]) -> list[dict[int, Words]]:
        """Return for each text the candidates of the words that a copy chose and that are a piece, by word."""
        inputs, single = read_words(self._tokenizer, texts, self._max_length)
        ids = inputs["input_ids"]
        blanks = [
            Blank(text, word, position)
            for text, own in enumerate(single)
            for word, position in own.items()
            if chosen[text][:, word].any() and ids[text][position] in self._words
        ]
        candidates: list[dict[int, Words]] = [{} for _ in texts]
        with evaluation_mode(self._model):
            for batch in _equally_long(blanks, ids, self._config.batch_size):
                for blank, best in zip(batch, self._likeliest(inputs, batch), strict=True):
                    here = {ids[blank.text][blank.position]: texts[blank.text][blank.word]}  # as it was written
                    candidates[blank.text][blank.word] = [here.get(index, self._words[index]) for index in best]
        return candidates

    def _likeliest(self, inputs: Mapping[str, Sequence[Sequence[int]]], blanks: Sequence[Blank]) -> list[list[int]]:
        """Return the ids of the likeliest words for each blank, in the order of the ids.

        That order, and not the likelihood's, leaves less to rounding: it matters for the last of them alone.
        """
        batch = {name: torch.tensor([own[blank.text] for blank in blanks]) for name, own in inputs.items()}
        is_blank = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        is_blank[range(len(blanks)), [blank.position for blank in blanks]] = True
        batch["input_ids"][is_blank] = self._tokenizer.mask_token_id
        batch = {name: value.to(self._model.device) for name, value in batch.items()}
        is_blank = is_blank.to(self._model.device)
        with head_on(self._model, is_blank):
            outputs = self._model(**select_inputs(batch, named_inputs(self._model)), return_dict=True)
        logits = logits_at(outputs.logits, is_blank)[:, self._ids]  # [blanks, words]
        best = logits.topk(min(self._config.top_k, len(self._ids)))
        check_finite(as_array(best.values), "masked_lm")
        return self._ids[best.indices].sort().values.tolist()


def _equally_long(blanks: Sequence[Blank], ids: Sequence[Sequence[int]], size: int) -> Iterator[list[Blank]]:
    """Yield batches of blanks in texts of one length: these need no padding."""

    def length(blank: Blank) -> int:
        return len(ids[blank.text])

    for _, group in groupby(sorted(blanks, key=length, reverse=True), length):
        while batch := list(islice(group, size)):
            yield batch


def _fill(words: Words, chosen: NDArray[np.bool_], places: NDArray, candidates: Mapping[int, Words]) -> Words:
    """Replace each chosen word that has candidates by the one at its place in [0, 1)."""
    filled = list(words)
    for word in np.flatnonzero(chosen).tolist():
        if word in candidates:
            filled[word] = candidates[word][int(places[word] * len(candidates[word]))]
    return filled
