"""Answers of an exported student, without torch or transformers; this one file may be copied into another project.

    from distilnlp.serving import OnnxPredictor

    predict = OnnxPredictor("out/student")
    predict(["a fine film", "dull from start to end"])

It reads what `distilnlp export` leaves in a student's folder: `config.json`, `tokenizer.json` and
`tokenizer_config.json`, `onnx/model.onnx`, and `onnx/model_quantized.onnx` if there is one. It needs numpy, tokenizers
and onnxruntime (`pip install 'distilnlp[onnx]'`).
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

FP32, INT8 = "onnx/model.onnx", "onnx/model_quantized.onnx"
MAX_ANSWER_LENGTH = 30  # pieces of an answer
CHARACTERS = 12  # of a long text's start, for each token that is read: more than nearly all texts need
SPARE = 24  # tokens of a start beyond what is read, so that its end cannot matter
BEGINS, ENDS = set("BSUW"), set("ELSUW")  # prefixes of tags: of the first and of the last word of an entity
Answer = dict[str, Any]


class OnnxPredictor:
    """A student in ONNX Runtime, called with texts.

    What comes back depends on the head, by the names and the form of the pipelines of transformers:

    - classification: the best label, `{"label", "score"}`, of each text or pair; with `top_k` a list of the best, and
      with `top_k=None` all. Scores are probabilities: of several labels each by itself, of one label the value itself.
    - tagged words: the entities of each text, `{"entity_group", "score", "word", "start", "end"}`; the first piece of a
      word stands for it (`aggregation_strategy="first"`).
    - questions, with contexts as `pairs`: `{"answer", "score", "start", "end"}`; an empty answer where the model says
      that there is none.
    - choices, with a list of them for each prompt as `pairs`: `{"choice", "scores"}`.
    - masked words: the best pieces for the mask, `{"token_str", "token", "score"}`, `top_k` of them.

    Args:
        folder: of the student.
        precision: "int8" or "fp32"; None = int8 if it is there.
        threads: of ONNX Runtime; None = as it sees fit.
        batch_size: texts at a time; they run in the order of their lengths.
        max_length: texts are cut after so many tokens; None = as the tokenizer says.

    Raises:
        ValueError: the folder is no exported student.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        precision: str | None = None,
        threads: int | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
    ) -> None:
        self.folder, self.batch_size = Path(folder), batch_size
        self.precision = precision or "fp32"  # of the graph that answers
        if precision not in (None, "int8", "fp32"):
            raise ValueError(f"precision must be int8 or fp32, or None, but it is {precision!r}. Give one of these.")
        self.config = self._read("config.json")
        self.labels = {int(index): name for index, name in (self.config.get("id2label") or {}).items()}
        self.tokenizer = self._tokenizer(max_length)
        self.session = self.open_session(precision, threads)
        self.inputs = self.input_names
        self._answer = self._way_of_answering()

    def __call__(self, texts: str | Sequence[str], pairs: Any = None, **options: Any) -> Any:
        """Answer one text, or a list of texts.

        Args:
            texts: texts; prompts or questions where there are `pairs`.
            pairs: what belongs to each: the second text of a pair, a question's context, a prompt's list of choices.
            options: `top_k`, see the class.

        Raises:
            ValueError: something that is no text, or as many pairs as texts are missing.
        """
        if isinstance(texts, str):
            return self([texts], None if pairs is None else [pairs], **options)[0]
        given, others = list(texts), None if pairs is None else list(pairs)
        wrong = next((text for text in given if not isinstance(text, str)), None)
        if wrong is not None:
            raise ValueError(f"expected texts, but got {wrong!r:.100}. Give a text or a list of texts.")
        if others is not None and len(others) != len(given):
            raise ValueError(f"expected one of pairs for each of {len(given)} texts, but got {len(others)}. Pair them.")
        return self._answer(given, others, **options) if given else []

    @property
    def is_of_labels(self) -> bool:
        """Whether each label is a decision of its own."""
        return self.config.get("problem_type") == "multi_label_classification"

    @property
    def thresholds(self) -> dict[str, float]:
        """Probabilities above which each of several labels is given: what validation rows told, else one half."""
        chosen = self.config.get("label_thresholds") or [0.5] * len(self.labels)
        return {self.labels[place]: float(chosen[place]) for place in sorted(self.labels)}

    # ---- The runtime ----

    def open_session(self, precision: str | None, threads: int | None) -> Any:
        """Return what runs the student."""
        import onnxruntime

        use_int8 = precision == "int8" or (precision is None and (self.folder / INT8).is_file())
        self.precision = "int8" if use_int8 else "fp32"
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        path = self._existing(INT8 if use_int8 else FP32)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    @property
    def input_names(self) -> list[str]:
        """What the student reads."""
        return [value.name for value in self.session.get_inputs()]

    def run_session(self, feed: dict[str, NDArray]) -> list[NDArray]:
        """Return the outputs for a batch of inputs, by their names."""
        return [np.asarray(output) for output in self.session.run(None, feed)]

    # ---- What lies in the folder ----

    def _existing(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise ValueError(
                f"expected an exported student in {self.folder}, but it has no {name}. Run `distilnlp export "
                f"{self.folder}`."
            )
        return path

    def _read(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._existing(name).read_text(encoding="utf-8"))
        return content

    def _tokenizer(self, max_length: int | None) -> Tokenizer:
        tokenizer = Tokenizer.from_file(str(self._existing("tokenizer.json")))
        said = self._read("tokenizer_config.json")
        self.max_length = int(max_length or min(said.get("model_max_length") or 512, 10**6))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.pad = int(self.config.get("pad_token_id") or 0)
        return tokenizer

    @property
    def head(self) -> str:
        """What the student is for, as its class is called after `For`."""
        return str((self.config.get("architectures") or [""])[0]).partition("For")[2]

    def _way_of_answering(self) -> Any:
        ways = {
            "SequenceClassification": self._classify,
            "TokenClassification": self._tag,
            "QuestionAnswering": self._find,
            "MultipleChoice": self._choose,
            "MaskedLM": self._fill,
        }
        if self.head not in ways:
            raise ValueError(
                f"expected a model for one of {', '.join(ways)}, but the config says {self.head!r}. Export one."
            )
        return ways[self.head]

    # ---- Running ----

    def encode(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, direction: str = "right"
    ) -> list[Encoding]:
        """Return texts as tokens, cut where the student reads no more; `overflowing` has some of what is cut off.

        Args:
            texts: texts, or the first ones of pairs.
            pairs: the second ones.
            direction: where a text is cut, `right` or `left`.
        """
        self.tokenizer.enable_truncation(self.max_length, direction=direction)
        if pairs is not None:
            inputs: Any = list(zip(texts, pairs, strict=True))
            return self.tokenizer.encode_batch(inputs)
        # Of a long text the start is enough, if it fills more than what is read: pieces do not cross white space, where
        # it ends, but for tokenizers that do not take a text apart first.
        most = CHARACTERS * self.max_length if direction == "right" and self.tokenizer.pre_tokenizer else sys.maxsize
        starts = [text if len(text) <= most else text[: text.rfind(" ", 0, most) + 1] for text in texts]
        encodings = self.tokenizer.encode_batch(starts)
        again = [
            place
            for place, own in enumerate(encodings)
            if starts[place] is not texts[place] and sum(len(cut.ids) for cut in own.overflowing) < SPARE
        ]
        for place, own in zip(again, self.tokenizer.encode_batch([texts[place] for place in again]), strict=True):
            encodings[place] = own
        return encodings

    def _batches(self, encodings: Sequence[Encoding]) -> Iterator[tuple[list[int], list[NDArray]]]:
        """Yield the places of a batch's encodings, from the shortest to the longest, and the model's outputs."""
        order = sorted(range(len(encodings)), key=lambda place: len(encodings[place].ids))
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            yield places, self.run([encodings[place] for place in places])

    def run(self, encodings: Sequence[Encoding]) -> list[NDArray]:
        """Return the model's outputs for a batch of encodings."""
        return self.run_session(self._feed(encodings))

    def _feed(self, encodings: Sequence[Encoding]) -> dict[str, NDArray]:
        """Return what the student reads of each encoding, padded on the right."""
        length = max(len(encoding.ids) for encoding in encodings)
        columns = {
            "input_ids": ([encoding.ids for encoding in encodings], self.pad),
            "attention_mask": ([encoding.attention_mask for encoding in encodings], 0),
            "token_type_ids": ([encoding.type_ids for encoding in encodings], 0),
        }
        feed = {}
        for name in self.inputs:
            rows, fill = columns[name]
            feed[name] = np.array([[*row, *[fill] * (length - len(row))] for row in rows], dtype=np.int64)
        return feed

    def prepare(self, texts: Sequence[str], pairs: Sequence[Any] | None = None) -> dict[str, NDArray]:
        """Return what the student reads of a batch of texts, as `run_session` takes it.

        Args:
            texts: as in a call.
            pairs: as in a call; lists of choices must be of one length, and of long contexts the start is read.
        """
        if self.head != "MultipleChoice" or pairs is None:
            return self._feed(self.encode(texts, pairs))
        firsts = [text for text, own in zip(texts, pairs, strict=True) for _ in own]
        feed = self._feed(self.encode(firsts, [choice for own in pairs for choice in own]))
        return {name: rows.reshape(len(texts), -1, rows.shape[-1]) for name, rows in feed.items()}

    def logits(self, encodings: Sequence[Encoding]) -> list[NDArray]:
        """Return the first output of each encoding, in their order."""
        found: list[Any] = [None] * len(encodings)
        for places, outputs in self._batches(encodings):
            for place, row in zip(places, outputs[0], strict=True):
                found[place] = row
        return found

    # ---- The heads ----

    def _classify(self, texts: list[str], pairs: list[str] | None, top_k: int | None = 1) -> list[Any]:
        ranked = [self.ranked(self.scores(logits)) for logits in self.logits(self.encode(texts, pairs))]
        return [best[0] if top_k == 1 else best[:top_k] for best in ranked]

    def scores(self, logits: NDArray) -> NDArray:
        """Return the probabilities of the labels of a text; of one label its value."""
        if self.is_of_labels:
            return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))
        return logits if len(logits) == 1 else softmax(logits)

    def ranked(self, scores: NDArray) -> list[Answer]:
        """Return the labels with their scores, the best first."""
        order = np.argsort(-scores, kind="stable")
        return [{"label": self.labels[int(index)], "score": float(scores[index])} for index in order]

    def _tag(self, texts: list[str], pairs: None) -> list[list[Answer]]:
        encodings = self.encode(texts)
        found = zip(texts, encodings, self.logits(encodings), strict=True)
        return [self._entities(text, encoding, softmax(logits)) for text, encoding, logits in found]

    def _entities(self, text: str, encoding: Encoding, chances: NDArray) -> list[Answer]:
        """Return runs of words whose first pieces have tags of one entity."""
        words: dict[int, tuple[int, int, int]] = {}  # the first piece of each, and the characters of all
        for place, word in enumerate(encoding.word_ids):
            if word is not None and not encoding.special_tokens_mask[place]:
                start, end = encoding.offsets[place]
                first, begin, _ = words.get(word, (place, start, end))
                words[word] = first, begin, end
        entities: list[Answer] = []
        before = ""
        for first, start, end in words.values():
            tag = self.labels[int(chances[first].argmax())]
            prefix, _, kind = tag.partition("-") if tag[1:2] == "-" else ("", "", tag)
            score = float(chances[first].max())
            if tag == "O":
                before = ""
                continue
            last = entities[-1] if entities else None
            is_same = last is not None and before != "" and last["entity_group"] == kind and prefix not in BEGINS
            if last is not None and is_same:
                last["scores"].append(score)
                last["end"] = end
            else:
                entities.append({"entity_group": kind, "scores": [score], "start": start, "end": end})
            before = "" if prefix in ENDS else tag
        return [
            {
                "entity_group": own["entity_group"],
                "score": float(np.mean(own["scores"])),
                "word": text[own["start"] : own["end"]].strip(),
                "start": own["start"],
                "end": own["end"],
            }
            for own in entities
        ]

    def _find(self, questions: list[str], contexts: list[str] | None, stride: int = 128) -> list[Answer]:
        if contexts is None:
            raise ValueError("expected the contexts of the questions as pairs, but there are none. Give one for each.")
        windows: list[tuple[int, Encoding]] = []
        for number, (question, context) in enumerate(zip(questions, contexts, strict=True)):
            taken = len(self.tokenizer.encode(question).ids) + 2
            shared = max(0, min(stride, (self.max_length - taken) // 2))
            self.tokenizer.enable_truncation(self.max_length, stride=shared, strategy="only_second")
            first = self.tokenizer.encode(question, context)
            windows += [(number, window) for window in (first, *first.overflowing)]
            self.tokenizer.no_truncation()
        best: list[tuple[float, Answer, float]] = [(-np.inf, {}, np.inf) for _ in questions]
        encodings = [window for _, window in windows]
        for places, (starts, ends, *_) in self._batches(encodings):
            for place, start, end in zip(places, starts, ends, strict=True):
                number, window = windows[place]
                score, answer, lacking = self._span(contexts[number], window, start, end)
                known = best[number]
                kept = (score, answer) if score > known[0] else known[:2]
                best[number] = *kept, min(known[2], lacking)
        threshold = self.config.get("no_answer_threshold")
        nothing = {"answer": "", "score": 0.0, "start": 0, "end": 0}
        return [
            nothing if not answer or (threshold is not None and lacking - score > threshold) else answer
            for score, answer, lacking in best
        ]

    def _span(self, context: str, window: Encoding, start: NDArray, end: NDArray) -> tuple[float, Answer, float]:
        """Return the best span of a window's context with its score, and the score of no answer."""
        inside = np.array([part == 1 for part in window.sequence_ids])
        lacking = float(start[0]) + float(end[0])
        first = int(inside.argmax())
        starts, ends = (own[: len(inside)][inside].astype(np.float64) for own in (start, end))
        if not len(starts):
            return -np.inf, {}, lacking
        sums = starts[:, None] + ends[None, :]
        allowed = np.triu(np.ones_like(sums, dtype=bool)) & ~np.triu(np.ones_like(sums, dtype=bool), MAX_ANSWER_LENGTH)
        place = np.where(allowed, sums, -np.inf).argmax()
        begin, final = np.unravel_index(place, sums.shape)
        left, right = window.offsets[first + int(begin)][0], window.offsets[first + int(final)][1]
        chance = float(softmax(starts)[begin] * softmax(ends)[final])
        answer = {"answer": context[left:right].strip(), "score": chance, "start": left, "end": right}
        return float(sums[begin, final]), answer, lacking

    def _choose(self, prompts: list[str], choices: list[Sequence[str]] | None) -> list[Answer]:
        if choices is None:
            raise ValueError("expected a list of choices for each prompt as pairs, but there are none. Give them.")
        answers = []
        for prompt, own in zip(prompts, choices, strict=True):
            scores = softmax(self.run_session(self.prepare([prompt], [own]))[0][0])
            answers.append({"choice": int(scores.argmax()), "scores": [float(score) for score in scores]})
        return answers

    def _fill(self, texts: list[str], pairs: None, top_k: int = 5) -> list[list[Answer]]:
        mask = self.tokenizer.token_to_id(_content(self._read("tokenizer_config.json").get("mask_token", "[MASK]")))
        encodings, answers = self.encode(texts), []
        for text, encoding, logits in zip(texts, encodings, self.logits(encodings), strict=True):
            if mask not in encoding.ids:
                raise ValueError(
                    f"expected a text with the mask of the tokenizer, but got {text!r:.100}. Put it there."
                )
            chances = softmax(logits[encoding.ids.index(mask)])
            best = np.argsort(-chances, kind="stable")[:top_k]
            answers.append(
                [
                    {"token_str": self.tokenizer.decode([int(i)]), "token": int(i), "score": float(chances[i])}
                    for i in best
                ]
            )
        return answers


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def softmax(logits: NDArray) -> NDArray:
    """Return the probabilities of logits `[..., classes]`, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
