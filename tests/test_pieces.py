"""Which pieces stay in each kind of tokenizer: vocabularies, merges and scores drawn at random, and the hard cases."""

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from distilnlp.students import trim_vocabulary
from tests.tiny import tiny_model


@cache
def roomy_model() -> PreTrainedModel:
    return tiny_model(num_hidden_layers=1, vocab_size=300, pad_token_id=None)


def whole_and_trimmed(model: Any, texts: list[str]) -> tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase]:
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    return tokenizer, trim_vocabulary(roomy_model(), tokenizer, texts)[1]


def cut(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[str]]:
    return [encoding.tokens for encoding in tokenizer(texts).encodings]


def numbered(*pieces: str) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


SCRAPS = st.text("abc", min_size=1, max_size=3)


def texts_of(draw: st.DrawFn, pieces: Any) -> list[str]:
    """Draw texts whose words are made of these pieces, sometimes with a character that may be unknown."""
    word = st.lists(st.sampled_from([*pieces, *"abcé"]), min_size=1, max_size=3).map("".join)
    return draw(st.lists(st.lists(word, max_size=3).map(" ".join), min_size=1, max_size=3))


@st.composite
def word_pieces(draw: st.DrawFn) -> tuple[Any, list[str]]:
    first, inside = draw(st.lists(SCRAPS, max_size=9)), draw(st.lists(SCRAPS, max_size=9))
    vocabulary = numbered("[UNK]", *first, *(f"##{scrap}" for scrap in inside))
    return models.WordPiece(vocabulary, unk_token="[UNK]"), texts_of(draw, first + inside)


@st.composite
def merged_pieces(draw: st.DrawFn) -> tuple[Any, list[str]]:
    pieces = draw(st.permutations("abc"))[: draw(st.integers(1, 3))]
    pairs = []
    for _ in range(draw(st.integers(0, 9))):
        pairs.append((draw(st.sampled_from(pieces)), draw(st.sampled_from(pieces))))
        pieces.append("".join(pairs[-1]))
    ways = {"fuse_unk": draw(st.booleans()), "ignore_merges": draw(st.booleans())}
    model = models.BPE(numbered(*pieces, "[UNK]"), list(dict.fromkeys(pairs)), unk_token="[UNK]", **ways)
    return model, texts_of(draw, pieces)


@st.composite
def scored_pieces(draw: st.DrawFn) -> tuple[Any, list[str]]:
    """Few different scores, so that paths tie, and far apart, so that the score of unknown characters matters."""
    scores = st.sampled_from([-1.0, -2.0, -3.0, -13.0, -25.0])
    pieces = draw(st.dictionaries(st.one_of(SCRAPS, st.just("é")), scores, max_size=14))
    return models.Unigram([("[UNK]", 0.0), *pieces.items()], unk_id=0), texts_of(draw, pieces)


@pytest.mark.parametrize("kind", [word_pieces, merged_pieces, scored_pieces])
def test_random_vocabularies_cut_random_texts_as_before(kind: Any) -> None:
    @settings(max_examples=200)
    @given(kind())
    def check(drawn: tuple[Any, list[str]]) -> None:
        model, texts = drawn
        whole, trimmed = whole_and_trimmed(model, texts)
        assert cut(trimmed, texts) == cut(whole, texts)

    check()


def test_wordpiece_keeps_what_it_tries_before_it_gives_a_word_up() -> None:
    vocabulary = numbered("[UNK]", "x", "xy", "##yz", "w", "xyx")
    trimmed = whole_and_trimmed(models.WordPiece(vocabulary, unk_token="[UNK]"), ["xyz", "wyz"])[1]
    assert cut(trimmed, ["xyz", "wyz"]) == [["[UNK]"], ["w", "##yz"]]
    assert set(trimmed.get_vocab()) == set(vocabulary) - {"xyx"}


def test_a_word_over_the_limit_of_wordpiece_stays_unknown() -> None:
    model = models.WordPiece(numbered("[UNK]", "x", "##x", "xx"), unk_token="[UNK]", max_input_chars_per_word=3)
    trimmed = whole_and_trimmed(model, ["xxxx"])[1]
    assert cut(trimmed, ["xxxx", "xxx"]) == [["[UNK]"], ["x", "##x", "##x"]]


def test_unigram_keeps_the_score_of_unknown_characters() -> None:
    pieces = [("[UNK]", 0.0), ("w", -12.0), ("wx", -1.0), ("xy", -12.0), ("ww", -5.0), ("zzz", -20.0)]
    trimmed = whole_and_trimmed(models.Unigram(pieces, unk_id=0), ["wxy", "wx"])[1]
    assert cut(trimmed, ["wxy", "wx"]) == [["w", "xy"], ["wx"]]  # by -24 to -31, which would be -23 without zzz
    assert set(trimmed.get_vocab()) == {"[UNK]", "w", "wx", "xy", "zzz"}


def test_bpe_keeps_the_parts_of_its_pieces_and_no_other_merge() -> None:
    vocabulary = numbered("cab", "a", "b", "c", "[UNK]", "ca", "ab", "bc", "abc", "aab")
    pairs = [("a", "b"), ("b", "c"), ("ab", "c"), ("c", "a"), ("a", "ab")]
    trimmed = whole_and_trimmed(models.BPE(vocabulary, pairs, unk_token="[UNK]"), ["abc"])[1]
    model = json.loads(trimmed.backend_tokenizer.to_str())["model"]
    assert model["vocab"] == {"a": 0, "b": 1, "c": 2, "[UNK]": 3, "ab": 4, "abc": 5}
    assert model["merges"] == [["a", "b"], ["ab", "c"]]


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_characters_outside_of_the_vocabulary_still_fall_back_to_bytes(kind: str) -> None:
    pieces = ["[UNK]", "a", "b", "ab", *(f"<0x{byte:02X}>" for byte in range(256))]
    if kind == "BPE":
        model = models.BPE(numbered(*pieces), [("a", "b")], unk_token="[UNK]", byte_fallback=True)
    else:
        model = models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0, byte_fallback=True)
    trimmed = whole_and_trimmed(model, ["a b"])[1]
    assert cut(trimmed, ["aé", "ab"]) == [["a", "<0xC3>", "<0xA9>"], ["a", "b"]]
