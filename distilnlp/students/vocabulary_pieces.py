"""The pieces of a tokenizer: which must stay so that a text is cut as before, and the tokenizer without the others.

A tokenizer is handled as the JSON of its backend, `json.loads(backend.to_str())`, called its spec.
"""

import copy
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer

from distilnlp.errors import DistillationError

Spec = dict[str, Any]

BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def check_spec(spec: Spec) -> None:
    """Check that the rules below cover this tokenizer."""
    known = ("WordLevel", "WordPiece", "BPE", "Unigram")
    if spec["model"]["type"] not in known:
        raise DistillationError(
            f"A vocabulary can be trimmed for tokenizers of the kinds {', '.join(known)}; got "
            f"{spec['model']['type']}. Keep this vocabulary whole."
        )
    if spec["model"].get("dropout"):
        raise DistillationError(
            f"The tokenizer must cut a text the same way each time; its BPE dropout is {spec['model']['dropout']}. "
            "Set tokenizer.backend_tokenizer.model.dropout = None."
        )


def pieces_of(spec: Spec) -> dict[str, int]:
    """Return the id of every piece of the model; added tokens may lie outside of it."""
    vocabulary = spec["model"]["vocab"]
    if isinstance(vocabulary, list):  # Unigram: (piece, score), where the place is the id
        return {piece: index for index, (piece, _) in enumerate(vocabulary)}
    return vocabulary


def named_ids(spec: Spec) -> set[int]:
    """Return the ids that the tokenizer names besides its pieces: added tokens, template, padding, unknown."""
    named = {container[key] for container, key in _id_slots(spec)}
    unknown = pieces_of(spec).get(spec["model"].get("unk_token"))
    return named if unknown is None else named | {unknown}


def _id_slots(spec: Spec) -> Iterator[tuple[Any, Any]]:
    """Yield each place that holds an id outside of the vocabulary, as the container and the key in it."""
    for token in spec["added_tokens"]:
        yield token, "id"
    if spec["padding"] is not None:
        yield spec["padding"], "pad_id"
    if spec["model"].get("unk_id") is not None:
        yield spec["model"], "unk_id"
    yield from _post_processor_slots(spec["post_processor"])


def _post_processor_slots(processor: Spec | None) -> Iterator[tuple[Any, Any]]:
    match processor:
        case {"type": "Sequence", "processors": steps}:
            for step in steps:
                yield from _post_processor_slots(step)
        case {"type": "TemplateProcessing", "special_tokens": specials}:
            for special in specials.values():
                yield from ((special["ids"], place) for place in range(len(special["ids"])))
        case {"type": "BertProcessing" | "RobertaProcessing", "sep": separator, "cls": classifier}:
            yield separator, 1  # (token, id)
            yield classifier, 1


def ids_to_keep(spec: Spec, used: Collection[int]) -> set[int]:
    """Extend the ids that a text uses by those without which the text would be cut otherwise, or a word lost.

    Every rule keeps single characters and the pieces of single bytes, so that a word outside of the text can still be
    spelled where it could before. That the text itself is cut as before follows for each kind of model, with V the
    old vocabulary and V' the kept part of it:

    - WordLevel looks a word up, and V' has the words that were found.
    - WordPiece takes the longest piece that fits. The piece it took from V is in V', and V' has nothing longer. A word
      given up half-way leaves no trace in the ids; see `tried_pieces`.
    - BPE applies the merge of lowest rank. The merges kept have the old order and include all that were applied, for
      these make kept pieces or parts of kept pieces; so the lowest is the same at each step. All merges that make a
      kept piece stay, not only one: which of them applies may depend on the word.
    - Unigram takes the path of the highest total score. That path is in V', and the paths in V' are a part of those in
      V. Among equal paths the one whose last piece begins first wins, place by place; the other scores cannot have
      grown, so it wins again. An unknown character scores 10 less than the lowest score of the vocabulary, so a piece
      with the lowest score stays; it is unknown where it is not itself a piece, and these all stay.
    """
    model, pieces = spec["model"], pieces_of(spec)
    kept_ids = named_ids(spec) | set(used)
    kept = {piece for piece, index in pieces.items() if index in kept_ids or _is_letter(piece, model)}
    if model["type"] == "BPE":
        kept = _with_parts(kept, model)
    if model["type"] == "Unigram":
        kept.add(min(model["vocab"], key=lambda entry: entry[1])[0])
    return kept_ids | {pieces[piece] for piece in kept}


def _is_letter(piece: str, model: Spec) -> bool:
    """Whether the piece stands for one character (byte-level BPE writes each byte as one) or one fallback byte."""
    letter = piece.removeprefix(model.get("continuing_subword_prefix") or "")
    letter = letter.removesuffix(model.get("end_of_word_suffix") or "")
    return model["type"] != "WordLevel" and (1 in (len(letter), len(piece)) or BYTE_PIECE.fullmatch(piece) is not None)


def _with_parts(kept: Collection[str], model: Spec) -> set[str]:
    """Add the parts that the merges make these pieces of, down to single characters."""
    parts: dict[str, list[str]] = defaultdict(list)
    for left, right, whole in _merges_of(model):
        parts[whole] += [left, right]
    found, waiting = set(kept), list(kept)
    while waiting:
        fresh = set(parts[waiting.pop()]) - found
        found |= fresh
        waiting += fresh
    return found


def _merges_of(model: Spec) -> Iterator[tuple[str, str, str]]:
    """Yield the two parts and the result of each merge. The right part loses the prefix of continuations, if any."""
    prefix = model["continuing_subword_prefix"] or ""
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield left, right, left + right[len(prefix) :]


def tried_pieces(backend: Tokenizer, text: str) -> set[int]:
    """Return the pieces that WordPiece takes from words of the text before it gives them up as unknown.

    With V = {xy, x, ##yz} the word xyz is unknown: after xy nothing fits. Without xy it would become x ##yz. The
    pieces taken are those of the longest beginning of the word that can be cut: each is the longest that fits in the
    word, hence in its beginning, and a longer beginning fails where the word fails.
    """
    normalized = backend.normalizer.normalize_str(text) if backend.normalizer else text
    words = backend.pre_tokenizer.pre_tokenize_str(normalized) if backend.pre_tokenizer else [(normalized, None)]
    return {index for word, _ in words for index in _beginning(backend.model, word)}


def _beginning(model: Any, word: str) -> list[int]:
    """Cut the longest beginning of the word that WordPiece can cut. A word over its limit is unknown in any case."""
    if len(word) > model.max_input_chars_per_word:
        return []
    for end in range(len(word), 0, -1):
        pieces = model.tokenize(word[:end])
        if model.unk_token not in [piece.value for piece in pieces]:
            return [piece.id for piece in pieces]
    return []


def keep_ids(spec: Spec, new_ids: Mapping[int, int]) -> Spec:
    """Return the spec with the pieces of these ids alone, under their new ids; a BPE merge stays if its pieces do."""
    spec = copy.deepcopy(spec)
    for container, key in _id_slots(spec):
        container[key] = new_ids[container[key]]
    model = spec["model"]
    kept = {piece: new_ids[index] for piece, index in pieces_of(spec).items() if index in new_ids}
    if model["type"] == "BPE":
        model["merges"] = [merge[:2] for merge in _merges_of(model) if all(piece in kept for piece in merge)]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for place, entry in enumerate(model["vocab"]) if place in new_ids]
    else:
        model["vocab"] = kept
    return spec
