"""New rows of text: what each method may do to a text, seeds, and what is left out or refused."""

from collections import Counter
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from distilnlp.augmentation import (
    METHODS,
    MaskWordsConfig,
    ReplaceWithMaskedLMConfig,
    SampleNgramsConfig,
    augment,
    parse_augmentation,
)
from distilnlp.errors import DistillationError
from tests.tiny import SPECIALS, WORDS, tiny_model, tiny_rows, tiny_tokenizer
from tests.tiny_tasks import task_model

MASK = "[MASK]"
LM = {"name": "replace_with_masked_lm", "top_k": 3}


def rows_of(*texts: str) -> Dataset:
    return Dataset.from_dict({"text": list(texts), "label": [0] * len(texts)})


def numbered_text(length: int, name: str = "w") -> list[str]:
    """Words that differ from one another, so that no two drawn texts are likely to be the same."""
    return [f"{name}{index}" for index in range(length)]


def texts_of(rows: Dataset, *methods: Any, **options: Any) -> list[str]:
    return augment(rows, methods, **{"tokenizer": tiny_tokenizer(), **options})["text"][:]


def assert_share(hits: int, draws: int, share: float) -> None:
    fewest, most = binom.interval(1 - 1e-6, draws, share)
    assert fewest <= hits <= most


# ---- Words alone ----


@pytest.mark.parametrize("probability", [0.1, 0.6])
def test_words_are_masked_where_they_stand_and_as_often_as_asked(probability: float) -> None:
    words = numbered_text(300)
    made = texts_of(rows_of(" ".join(words)), {"name": "mask_words", "probability": probability, "copies": 20})
    assert len(made) == 20
    masked = [new == MASK for text in made for new in text.split()]
    assert all(new in (MASK, old) for text in made for old, new in zip(words, text.split(), strict=True))
    assert_share(sum(masked), len(masked), probability)


def test_a_replaced_word_is_another_of_the_corpus() -> None:
    words = numbered_text(300)
    rows = rows_of(" ".join(words), "other texts")
    made = texts_of(rows, {"name": "replace_words", "probability": 0.3, "copies": 20})
    pairs = [(old, new) for text in made[:20] for old, new in zip(words, text.split(), strict=True)]
    replaced = [new for old, new in pairs if new != old]
    assert_share(len(replaced), len(pairs), 0.3)
    assert set(replaced) <= {*words, "other", "texts"}
    assert set(replaced) - set(words)


def test_other_words_are_drawn_by_their_frequency() -> None:
    counts = {"a": 60, "b": 30, "c": 10}
    words = [word for word, count in counts.items() for _ in range(count)]
    made = texts_of(rows_of(" ".join(words)), {"name": "replace_words", "probability": 1, "copies": 100})
    drawn = Counter((old, new) for text in made for old, new in zip(words, text.split(), strict=True))
    for old, own in counts.items():
        assert drawn[old, old] == 0
        for new in counts.keys() - {old}:
            assert_share(drawn[old, new], own * len(made), counts[new] / (100 - own))


def test_ngrams_are_words_in_a_row_of_every_allowed_length() -> None:
    texts = [numbered_text(30, f"t{row}w") for row in range(600)]
    made = texts_of(rows_of(*map(" ".join, texts)), {"name": "sample_ngrams", "min_words": 2, "max_words": 4})
    assert_share(len(made), len(texts), 0.25)
    lengths = Counter[int]()
    for ngram in (text.split() for text in made):
        row, start = map(int, ngram[0][1:].split("w"))
        assert ngram == texts[row][start : start + len(ngram)]
        lengths[len(ngram)] += 1
    assert lengths.keys() == {2, 3, 4}
    for count in lengths.values():
        assert_share(count, len(made), 1 / 3)


def test_ngrams_fit_texts_that_are_shorter_than_they() -> None:
    method = {"name": "sample_ngrams", "probability": 1, "copies": 50}
    assert set(texts_of(rows_of("one two three"), method)) == {"one", "two", "three", "one two", "two three"}
    assert texts_of(rows_of("one two three"), {**method, "min_words": 4}) == []


# ---- A masked language model ----


def pieces_tokenizer() -> PreTrainedTokenizerFast:
    """BERT's kind of tokenizer: words are cut into pieces, and some pieces are never used."""
    vocabulary = [*SPECIALS, "[unused0]", ",", *WORDS, "##s", "##ed"]
    backend = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIALS}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=40, **names)


def masked_lm(family: str = "bert") -> PreTrainedModel:
    return task_model("masked_lm", family, vocab_size=len(SPECIALS) + len(WORDS) + 4).double()


def lm_texts(rows: Dataset, *methods: Any, **options: Any) -> list[str]:
    return texts_of(rows, *methods, **{"tokenizer": pieces_tokenizer(), "masked_lm": masked_lm(), **options})


@torch.no_grad()
def likeliest_words(model: PreTrainedModel, text: str, word: int, count: int) -> set[str]:
    """Read a text of known words with one of them masked, alone and unpadded."""
    tokenizer = pieces_tokenizer()
    ids = [tokenizer.convert_tokens_to_ids(piece) for piece in ["[CLS]", *text.split(), "[SEP]"]]
    ids[word + 1] = tokenizer.mask_token_id
    logits = model.eval()(input_ids=torch.tensor([ids])).logits[0, word + 1].tolist()
    ranked = sorted(WORDS, key=lambda piece: -logits[tokenizer.convert_tokens_to_ids(piece)])
    return set(ranked[:count])


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra"])
def test_a_word_becomes_any_of_the_likeliest_in_its_place(family: str) -> None:
    model, texts = masked_lm(family), ["the film cast a player", "stock market"]
    made = lm_texts(rows_of(*texts), {**LM, "probability": 1, "copies": 150}, masked_lm=model.train())
    assert model.training
    for text in texts:
        own = [new.split() for new in made if len(new.split()) == len(text.split())]
        for word, drawn in enumerate(zip(*own, strict=True)):
            assert set(drawn) == likeliest_words(model, text, word, 3)
        model.train()


def test_words_are_replaced_as_often_as_asked() -> None:
    words = (WORDS * 2)[:30]
    model, rows = masked_lm(), rows_of(" ".join(words))
    made = lm_texts(rows, {**LM, "top_k": 1, "copies": 40}, masked_lm=model)
    best = [likeliest_words(model, " ".join(words), word, 1) for word in range(len(words))]
    pairs = [own for text in made for own in zip(words, best, text.split(), strict=True)]
    assert all(new in {old} | one for old, one, new in pairs)
    changeable = [new != old for old, one, new in pairs if old not in one]
    assert_share(sum(changeable), len(changeable), 0.4)


@pytest.mark.parametrize("kept", ["films", "film,", ",", "xyz", MASK, "[unused0]", "scored"])
def test_what_is_no_single_piece_stays(kept: str) -> None:
    made = [text.split() for text in lm_texts(rows_of(f"the {kept} plot"), {**LM, "probability": 1, "copies": 9})]
    assert made
    assert {own[1] for own in made} == {kept}


def test_every_whole_word_and_nothing_else_is_predicted_and_the_same_word_stays_as_written() -> None:
    made = lm_texts(rows_of("FILM film"), {**LM, "top_k": 1000, "probability": 1, "copies": 1000})
    first, second = ({text.split()[word] for text in made} for word in (0, 1))
    assert first == {"FILM", *WORDS} - {"film"}
    assert second == set(WORDS)


def test_words_beyond_the_longest_text_stay_also_where_a_piece_of_them_is_read() -> None:
    method = {**LM, "probability": 1, "copies": 20, "max_length": 4}  # [CLS] the film [SEP]
    made = lm_texts(rows_of("the films plot"), method)
    assert {tuple(text.split()[1:]) for text in made} == {("films", "plot")}


def test_the_batch_size_changes_nothing() -> None:
    rows = tiny_rows(30)
    first, *others = [lm_texts(rows, {**LM, "copies": 3, "batch_size": size}) for size in (1, 7, 64)]
    assert len(first) > 30
    assert others == [first, first]


def test_what_is_drawn_does_not_depend_on_how_the_likeliest_words_are_ranked() -> None:
    method, others = {**LM, "top_k": 1000, "copies": 3}, task_model("masked_lm", seed=5, vocab_size=28)
    made = lm_texts(rows_of(" ".join(WORDS)), method)
    assert made == lm_texts(rows_of(" ".join(WORDS)), method, masked_lm=others)
    assert len(made) == 3


def test_a_space_that_is_a_piece_belongs_to_the_word_behind_it() -> None:
    names = ["[UNK]", MASK, "▁", "▁a", "▁film", "plot", "▁goal"]
    backend = Tokenizer(models.Unigram([(name, -float(index)) for index, name in enumerate(names)], unk_id=0))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, mask_token=MASK, unk_token="[UNK]")
    model = task_model("masked_lm", vocab_size=len(names))
    method = {**LM, "probability": 1, "copies": 100}
    made = lm_texts(rows_of("film plot film"), method, tokenizer=tokenizer, masked_lm=model)
    words = ("film", "goal", "a")
    assert set(made) == {f"{first} plot {last}" for first in words for last in words} - {"film plot film"}


def test_tokenizers_that_mark_where_a_word_begins_are_read_as_well() -> None:
    letters = sorted({*"".join(WORDS), "Ġ"})
    vocabulary = {piece: index for index, piece in enumerate([*SPECIALS, *letters, "Ġg", "oa", "oal", "Ġgoal", "goal"])}
    merges = [("Ġ", "g"), ("o", "a"), ("oa", "l"), ("Ġg", "oal"), ("g", "oal")]
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, mask_token=MASK, unk_token="[UNK]")
    model = task_model("masked_lm", vocab_size=len(vocabulary))
    method = {**LM, "top_k": 50, "probability": 1, "copies": 200}
    made = lm_texts(rows_of("goal goal goal film"), method, tokenizer=tokenizer, masked_lm=model)
    # Words inside of a text are Ġg and Ġgoal; the first goal is written otherwise, and film is five pieces.
    assert set(made) == {"goal g goal film", "goal goal g film", "goal g g film"}


# ---- Rows ----

ALL = [{"name": "mask_words"}, {"name": "replace_words"}, {"name": "sample_ngrams"}, {"name": "replace_with_masked_lm"}]


def test_new_rows_have_the_texts_and_no_labels_in_the_order_of_the_methods() -> None:
    rows = rows_of(*(" ".join(numbered_text(20, name)) for name in ("a", "b")))
    methods = [{"name": "mask_words", "copies": 3, "probability": 0.5}, SampleNgramsConfig(probability=1, copies=2)]
    made = augment(rows, methods, tokenizer=tiny_tokenizer())
    assert made.features == rows.select_columns(["text"]).features
    kinds = [(text.strip(f"{MASK} ")[0], MASK in text) for text in made["text"]]
    assert kinds == [("a", True)] * 3 + [("b", True)] * 3 + [("a", False)] * 2 + [("b", False)] * 2


@pytest.mark.parametrize("columns", [None, ("text_pair", "text")])
def test_the_texts_of_a_pair_are_rewritten_for_themselves(columns: tuple[str, ...] | None) -> None:
    words = numbered_text(100)
    rows = Dataset.from_dict({"text": [" ".join(words)], "text_pair": [" ".join(words)], "label": [1]})
    made = augment(rows, [MaskWordsConfig(copies=4)], text_columns=columns, tokenizer=tiny_tokenizer())
    assert made.column_names == list(columns or ("text", "text_pair"))
    for row in made:
        assert MASK in row["text"]
        assert MASK in row["text_pair"]
        assert row["text"] != row["text_pair"]
    assert len(made) == 4


def test_one_of_several_columns_can_be_rewritten() -> None:
    rows = Dataset.from_dict({"text": ["the film"], "title": ["a b c d e f g h"]})
    made = augment(rows, [{"name": "sample_ngrams", "probability": 1}], text_columns=["title"])
    assert made.column_names == ["title"]
    assert made["title"][0] in "a b c d e f g h"


@pytest.mark.parametrize("method", ALL, ids=list(METHODS))
def test_the_seed_decides(method: dict[str, Any]) -> None:
    method, rows = {**method, "copies": 2}, tiny_rows(30)
    assert lm_texts(rows, method) == lm_texts(rows, method, seed=0)
    assert lm_texts(rows, method) != lm_texts(rows, method, seed=1)
    twice = lm_texts(rows, method, method)
    assert set(twice) > set(lm_texts(rows, method))  # named again, it draws anew


@pytest.mark.parametrize("method", ["mask_words", "sample_ngrams", "replace_with_masked_lm"])
def test_rows_do_not_depend_on_those_behind_them(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(*(f"{' '.join(WORDS[row:])} t{row} t{row} t{row} t{row} t{row} t{row}" for row in range(9)))
    own = {"name": method, "probability": 0.5, "copies": 3, **({"min_words": 3} if method == "sample_ngrams" else {})}
    whole = lm_texts(rows, own)
    part = lm_texts(rows.select(range(4)), own)
    assert part
    assert whole[: len(part)] == part
    monkeypatch.setattr("distilnlp.data.parts.PART", 2)
    assert lm_texts(rows, own) == whole


def test_other_words_follow_the_words_of_all_rows() -> None:
    text, method = " ".join(numbered_text(50)), {"name": "replace_words", "probability": 0.5, "copies": 2}
    alone, together = texts_of(rows_of(text), method), texts_of(rows_of(text, "many other words " * 9), method)
    places = [
        [old != new for old, new in zip(text.split(), made[0].split(), strict=True)] for made in (alone, together)
    ]
    assert places[0] == places[1]  # where is drawn for the row alone
    assert alone[0] != together[0]


WORD_SCRAPS = st.text("ab 、é\t", min_size=1, max_size=8).filter(str.strip)


@given(st.lists(st.tuples(WORD_SCRAPS, WORD_SCRAPS), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_new_rows_are_new_and_never_empty(texts: list[tuple[str, str]], seed: int) -> None:
    rows = Dataset.from_dict({"text": [own[0] for own in texts], "text_pair": [own[1] for own in texts]})
    methods = [MaskWordsConfig(copies=3, probability=0.5), SampleNgramsConfig(copies=3, probability=0.9)]
    made = augment(rows, methods, tokenizer=tiny_tokenizer(), seed=seed)
    new = [tuple(tuple(text.split()) for text in row.values()) for row in made]
    assert len(set(new)) == len(new) <= 6 * len(texts)
    assert not set(new) & {tuple(tuple(text.split()) for text in own) for own in texts}
    assert all(text for row in new for text in row)


def test_all_new_rows_of_a_short_text_are_found_once() -> None:
    made = texts_of(rows_of("one  two"), {"name": "mask_words", "probability": 0.5, "copies": 60})
    assert sorted(made) == ["[MASK] [MASK]", "[MASK] two", "one [MASK]"]


def test_no_rows_give_no_rows() -> None:
    rows = rows_of("the film").select([])
    assert len(augment(rows, ALL, tokenizer=pieces_tokenizer(), masked_lm=masked_lm())) == 0
    assert len(augment(rows_of("the film"), [])) == 0


# ---- Settings and errors ----


def test_the_defaults_are_those_of_the_papers() -> None:
    masks, others, ngrams, predicted = parse_augmentation(ALL)
    shares = [method.probability for method in (masks, others, ngrams, predicted)]
    assert shares == [0.1, 0.1, 0.25, 0.4]
    assert isinstance(ngrams, SampleNgramsConfig)
    assert (ngrams.min_words, ngrams.max_words) == (1, 5)
    assert isinstance(predicted, ReplaceWithMaskedLMConfig)
    assert predicted.top_k == 15
    assert parse_augmentation([ngrams, predicted]) == [ngrams, predicted]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "mask_word"}, r"augmentation\[1\] names no method: 'mask_word'. Did you mean 'mask_words'\?"),
        ({"copies": 2}, r"'augmentation\[1\].name' is missing"),
        ({"name": "mask_words", "copy": 2}, r"unknown key 'augmentation\[1\].copy'. Did you mean 'copies'\?"),
        ({"name": "mask_words", "probability": 0}, "probability' = 0 does not fit"),
        ({"name": "replace_words", "probability": 1.1}, "probability' = 1.1 does not fit"),
        ({"name": "sample_ngrams", "probability": float("nan")}, "probability' = nan does not fit"),
        ({"name": "replace_with_masked_lm", "probability": -1}, "probability' = -1 does not fit"),
        ({"name": "replace_with_masked_lm", "copies": 0}, "copies' = 0 does not fit"),
        ({"name": "replace_with_masked_lm", "top_k": 0}, "top_k' = 0 does not fit"),
        ({"name": "sample_ngrams", "min_words": 0}, "min_words' = 0 does not fit"),
        ({"name": "sample_ngrams", "min_words": 6}, r"min_words \(6\) must not be more than max_words \(5\)"),
    ],
)
def test_unfit_entries_are_refused_with_their_place(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        parse_augmentation([{"name": "mask_words"}, entry])


def without_mask_token() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.mask_token = None
    return tokenizer


def causal_lm() -> PreTrainedModel:
    config = tiny_model().config
    config.is_decoder = True
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("mask_words", {"tokenizer": None}, "mask_words needs a tokenizer with a mask token, but got none"),
        ("mask_words", {"tokenizer": without_mask_token()}, "mask token, but this .* has none"),
        ("replace_with_masked_lm", {"tokenizer": None}, "replace_with_masked_lm needs a tokenizer"),
        ("replace_with_masked_lm", {"tokenizer": without_mask_token()}, "mask token, but this .* has none"),
        ("replace_with_masked_lm", {"masked_lm": None}, "needs a masked language model, but got none"),
        ("replace_with_masked_lm", {"masked_lm": tiny_model()}, "got a BertForSequenceClassification"),
        ("replace_with_masked_lm", {"masked_lm": causal_lm()}, "got a BertLMHeadModel. Load one with AutoModelForMask"),
        ("replace_with_masked_lm", {"masked_lm": task_model("masked_lm", vocab_size=9)}, "vocabulary of 9, but .* to"),
        ("mask_words", {"text_columns": ["texts"]}, "names the column 'texts', but .* Did you mean 'text'"),
        ("mask_words", {"text_columns": ["label"]}, "text column 'label' must hold text"),
        ("mask_words", {"text_columns": []}, "must name the columns to rewrite"),
        ("mask_words", {"seed": -1}, r"seed must be from 0 to below 2\*\*32, but it is -1"),
    ],
)
def test_what_a_method_needs_is_checked_first(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        lm_texts(rows_of("the film"), {"name": method}, **options)


@pytest.mark.parametrize("text", ["", " \n", None])
def test_an_empty_text_is_refused_with_its_row(text: str | None) -> None:
    with pytest.raises(DistillationError, match=r"row 1 \(counted from 0\) has .* in 'text'"):
        augment(Dataset.from_dict({"text": ["a", text]}), [])


def test_a_corpus_of_one_word_has_no_other() -> None:
    with pytest.raises(DistillationError, match="'film' is their only one"):
        texts_of(rows_of("film film", "film"), {"name": "replace_words"})


def test_a_masked_lm_that_gives_nan_is_refused() -> None:
    model = masked_lm()
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(DistillationError, match="masked_lm gave NaN"):
        lm_texts(rows_of("the film"), {**LM, "probability": 1}, masked_lm=model)
