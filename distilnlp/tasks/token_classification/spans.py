"""Entities as tools for annotation export them, by the characters of a text: they become words with a tag each."""

import logging
from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from datasets import Dataset, Json, List, Value
from tokenizers import Regex, pre_tokenizers

from distilnlp.data import LISTS, Columns, Part, values_of, with_columns
from distilnlp.data.conll import TAGS, TOKENS
from distilnlp.data.source_columns import with_usual_names
from distilnlp.errors import DistillationError, shown
from distilnlp.signals import TEXT

logger = logging.getLogger(__name__)

USUAL_SPANS = ("spans", "entities", "labels", "label", "annotations")
EDGES = (("start", "end"), ("start_offset", "end_offset"))
ACCEPTED, DECISION = "accept", "answer"  # what Prodigy writes of a row
ALONE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{S}]"  # characters that are a word each


class Span(NamedTuple):
    """An entity: its first character, the one after its last, and its type."""

    start: int
    end: int
    type: str


class Word(NamedTuple):
    """A word, its first character and the one after its last."""

    text: str
    start: int
    end: int


def find_spans(dataset: Dataset, label: str | None) -> str | None:
    """Return the column that holds entities by their characters; None if there is none.

    Known are doccano's `[[13, 18, "LOC"]]` and `{start_offset, end_offset, label}`, Prodigy's `spans`, and what Label
    Studio writes as JSON and as JSON-MIN.
    """
    names = [label] if label else USUAL_SPANS
    return next((name for name in names if name in dataset.column_names and _holds_spans(dataset, name)), None)


def with_tagged_words(dataset: Dataset, column: str, text: str | None, label: str | None) -> Dataset:
    """Return rows of words and tags, B- and I- before the type of an entity, O outside.

    A text is split at white space and before and after each punctuation mark, as BERT splits it; where the rows have
    the words that an annotator saw (Prodigy's `tokens`), they are these.

    Args:
        dataset: rows with entities in a column.
        column: see `find_spans`.
        text: the column of the texts; None = `text`, or the only one there is.
        label: what the column of the tags is to be called, and `text` that of the words; None = their usual names.

    Raises:
        DistillationError: an entity begins or ends within a word, is not in its text, or overlaps another.
    """
    source = text or text_of_spans(dataset)
    dataset = with_usual_names(dataset, [source])
    sources = [source, column, *(name for name in (TOKENS, DECISION) if name in dataset.column_names)]
    logger.info("%r holds entities by the characters of %r: they are read as B- and I- tags of words", column, source)
    words, tags = text or TOKENS, label or TAGS
    features = {words: List(Value("string")), tags: List(Value("string"))}
    read = partial(_read, source, column, words, tags)
    made = with_columns(dataset, features, sources, read, "Reading the entities")
    rejected = sum(value != ACCEPTED for (value,) in values_of(dataset, DECISION)) if DECISION in sources else 0
    if rejected:
        logger.warning("%d rows were not accepted when they were annotated: they count as unlabelled", rejected)
    return made.remove_columns([name for name in {column, source} - {words, tags} if name in made.column_names])


def _holds_spans(dataset: Dataset, name: str) -> bool:
    """Whether a column holds entities, by its type and, where that does not tell, by the first that there is."""
    feature = dataset.features[name]
    if not isinstance(feature, LISTS):
        return False
    inner = feature.feature
    if isinstance(inner, dict):
        fields = inner["result"].feature if isinstance(inner.get("result"), LISTS) else inner
        fields = fields.get("value", fields) if isinstance(fields, dict) else {}
        return any({*edges} <= fields.keys() for edges in EDGES)
    if not isinstance(inner, Json) and not (isinstance(inner, LISTS) and isinstance(inner.feature, Json)):
        return False
    first = next((row[0] for (row,) in values_of(dataset, name) if row), None)
    kinds = [type(part) for part in first] if isinstance(first, list | tuple) else []
    return kinds == [int, int, str]


def text_of_spans(dataset: Dataset) -> str:
    """Return the name of the column with the texts of entities, by a dotted path where it is a field.

    Raises:
        DistillationError: there is none, or several.
    """
    fields = [f"{name}.{TEXT}" for name, own in dataset.features.items() if isinstance(own, dict) and TEXT in own]
    found = [TEXT] if TEXT in dataset.column_names else fields
    if len(found) != 1:
        raise DistillationError(
            f"the data has entities by characters, but no column {TEXT!r} that they could be of: the columns are "
            f"{shown(dataset.column_names)}. Name the text in data.text_columns."
        )
    return found[0]


def _read(source: str, column: str, words: str, tags: str, part: Part) -> Columns:
    rows, empty_is_unlabelled = part.rows, _is_of_annotators(part.rows, column)
    made: Columns = {words: [], tags: []}
    own = rows[TOKENS][:] if TOKENS in rows.column_names else [None] * len(rows)
    decisions = rows[DECISION][:] if DECISION in rows.column_names else [ACCEPTED] * len(rows)
    for row, (text, value, tokens, decision) in enumerate(
        zip(rows[source][:], rows[column][:], own, decisions, strict=True), part.first
    ):
        split = _given_words(tokens) or split_words(text or "")
        spans = None if decision != ACCEPTED or value is None else list(_spans(value, row))
        is_unlabelled = spans is None or (empty_is_unlabelled and not value)
        made[words].append([word.text for word in split])
        made[tags].append(None if is_unlabelled else tags_of(split, spans or (), text or "", row))
    return made


def _is_of_annotators(rows: Dataset, column: str) -> bool:
    """Whether a column holds a list of annotations, each with its entities: an empty one is no annotation."""
    feature = rows.features[column]
    return isinstance(feature, LISTS) and isinstance(feature.feature, dict) and "result" in feature.feature


def _given_words(tokens: Any) -> list[Word]:
    if not tokens or not isinstance(tokens[0], dict):
        return []
    return [Word(token[TEXT], token["start"], token["end"]) for token in tokens if token[TEXT].strip()]


def split_words(text: str) -> list[Word]:
    """Return the words of a text: split at white space, and around punctuation, symbols, and Han and kana."""
    return [Word(text[start:end], start, end) for _, (start, end) in _splitter().pre_tokenize_str(text)]


@cache
def _splitter() -> Any:
    alone = pre_tokenizers.Split(Regex(ALONE), "isolated")
    return pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), alone])


def _spans(value: Any, row: int) -> Iterator[Span]:
    """Yield the entities of a row, in whichever form."""
    if value and isinstance(value[0], dict) and "result" in value[0]:
        done = [one for one in value if not one.get("was_cancelled")]
        results = [one["result"] or [] for one in done]
        if any(sorted(_spans(own, row)) != sorted(_spans(results[0], row)) for own in results[1:]):
            raise DistillationError(
                f"row {row} (counted from 0) was annotated {len(results)} times, and not alike. Keep one annotation of "
                "each row."
            )
        value = results[0] if results else []
    for one in value:
        if isinstance(one, dict):
            fields = one.get("value") or one
            edges = next((own for own in EDGES if fields.get(own[0]) is not None), None)
            if edges is None:  # a relation, or a choice for the whole text
                continue
            start, end = (fields[edge] for edge in edges)
            names = fields.get("labels") or [fields.get("label")]
        else:
            start, end, *names = one
        if not all(isinstance(edge, int) and not isinstance(edge, bool) for edge in (start, end)):
            raise DistillationError(
                f"row {row} (counted from 0) has an entity from {shown(start)} to {shown(end)}, but its borders must "
                "be whole numbers: the first character, counted from 0, and the one after the last. Convert them."
            )
        if len(names) != 1 or not isinstance(names[0], str):
            raise DistillationError(
                f"row {row} (counted from 0) has an entity of {shown(names)}, but a word has one tag. Give each entity "
                "one label."
            )
        yield Span(start, end, names[0])


def tags_of(words: Sequence[Word], spans: Sequence[Span], text: str, row: int) -> list[str]:
    """Return the tag of each word.

    Raises:
        DistillationError: see `with_tagged_words`.
    """
    tags = ["O"] * len(words)
    for start, end, kind in spans:
        piece = text[start:end] if 0 <= start < end <= len(text) else ""
        first, last = start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
        inside = [index for index, word in enumerate(words) if word.start < last and word.end > first]
        where = f"row {row} (counted from 0): the entity {shown(piece)}, {kind}, from {start} to {end}"
        if not inside or not piece.strip():
            raise DistillationError(
                f"{where} is not in the text, which has {len(text)} characters: {shown(text)}. Count characters from "
                "0, the end after the last one."
            )
        if words[inside[0]].start != first or words[inside[-1]].end != last:
            cut = words[inside[0]] if words[inside[0]].start != first else words[inside[-1]]
            raise DistillationError(
                f"{where}, begins or ends within the word {shown(cut.text)}. Mend its borders (they count characters "
                "from 0, the end after the last one), or give the words and tags as two lists."
            )
        if any(tags[index] != "O" for index in inside):
            raise DistillationError(f"{where}, overlaps another, but a word has one tag. Keep one of them.")
        for index in inside:
            tags[index] = f"{'B' if index == inside[0] else 'I'}-{kind}"
    return tags
