"""Token rows: one tag a word, at its first token, whatever the tokenizer does with the word."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from distilnlp.data import labelled_rows
from distilnlp.errors import DistillationError
from distilnlp.tasks import TOKEN_ROWS
from tests.test_data import config, prepare, write, write_rows
from tests.tiny import SPECIALS, tiny_tokenizer

TAGS = ("O", "PER", "LOC")
LETTERS = "abcdefgh"
NAMES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
BRACKETS = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece of letters and a few longer pieces, as in BERT."""
    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS), "bad", "##bad", "##ef", "ace", ".", ","]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(SPECIALS + pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = BRACKETS
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **NAMES)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, whose tokens begin with the space before a word, as in RoBERTa."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a bad cab face fed ace head bed"] * 5, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = BRACKETS
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **NAMES)


MAKERS = [letter_tokenizer, byte_tokenizer]
words_and_tags = st.lists(
    st.lists(st.tuples(st.text(LETTERS + ".é", min_size=1, max_size=6), st.integers(0, 2)), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


def row(tokens: Any, tags: Any, column: str = "ner_tags") -> dict[str, Any]:
    return {"tokens": tokens, column: tags}


def both(path: str) -> dict[str, str]:
    return {"train": path, "test": path}


def encode(rows: Dataset, tokenizer: Any, max_length: int = 60) -> Dataset:
    return TOKEN_ROWS.encode(rows, tokenizer, max_length, "", config=config())


def normalised(words: list[list[str]], tags: list[list[int]]) -> Dataset:
    return Dataset.from_dict({"words": words, "label": tags})


@pytest.mark.parametrize("make", MAKERS)
@given(rows=words_and_tags)
def test_every_word_has_its_tag_at_its_first_token(make: Callable[[], Any], rows: list[list[tuple[str, int]]]) -> None:
    tokenizer = make()
    words = [[word for word, _ in pairs] for pairs in rows]
    tags = [[tag for _, tag in pairs] for pairs in rows]
    encoded = encode(normalised(words, tags), tokenizer, 200)
    for found, own, labels in zip(encoded, words, tags, strict=True):
        starts = [index for index, start in enumerate(found["word_starts"]) if start]
        assert [found["label"][index] for index in starts] == labels
        assert sum(label != -100 for label in found["label"]) == len(starts)
        bounds = [*starts, found["length"] - 1]  # the last token is [SEP]
        for word, first, end in zip(own, bounds, bounds[1:], strict=False):
            if "é" not in word or make is byte_tokenizer:  # a WordPiece without é reads an unknown word
                assert tokenizer.decode(found["input_ids"][first:end]).replace(" ", "") == word


@given(rows=words_and_tags, max_length=st.integers(3, 12))
def test_words_beyond_the_maximum_are_cut_with_their_tags(rows: list[list[tuple[str, int]]], max_length: int) -> None:
    words, tags = [[word for word, _ in pairs] for pairs in rows], [[tag for _, tag in pairs] for pairs in rows]
    whole = encode(normalised(words, tags), letter_tokenizer(), 200)
    for full, cut in zip(whole, encode(normalised(words, tags), letter_tokenizer(), max_length), strict=True):
        kept = min(max_length, full["length"]) - 1  # [SEP] is last
        assert (cut["length"], cut["label"][:-1]) == (kept + 1, full["label"][:kept])
        assert cut["word_starts"] == [*full["word_starts"][:kept], 0]


def test_a_word_begins_as_it_does_in_running_text() -> None:
    tokenizer = byte_tokenizer()
    encoded = encode(normalised([["a", "bad", "face"]], [[0, 1, 2]]), tokenizer)
    assert encoded["input_ids"][0] == tokenizer("a bad face")["input_ids"]
    assert encoded["label"][0] == [-100, 0, 1, 2, -100]
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])[2] == "Ġbad"


def test_words_without_any_token_are_passed_over() -> None:
    encoded = encode(normalised([["bad", "", "\u200b", "ace"]], [[1, 2, 2, 0]]), letter_tokenizer())
    assert encoded["label"][0] == [-100, 1, 0, -100]
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    (spaced,) = encode(normalised([["bad", "", "face"]], [[1, 2, 0]]), tokenizer)
    assert tokenizer.convert_ids_to_tokens(spaced["input_ids"]) == ["b", "ad", "Ġ", "Ġface"]
    assert spaced["label"] == [1, -100, -100, 0]


def test_encoded_rows_have_the_columns_of_the_contract() -> None:
    encoded = encode(normalised([["the", "film"], ["a"]], [[0, 1], [-100]]), tiny_tokenizer())
    names = ["label", "input_ids", "token_type_ids", "attention_mask", "word_starts", "word_ids", "length"]
    assert encoded.column_names == names
    assert encoded["label"] == [[-100, 0, 1, -100], [-100] * 3]
    assert encoded["word_starts"] == [[0, 1, 1, 0], [0, 1, 0]]  # also where there is no label
    assert encoded["length"] == [4, 3]


def test_tags_are_ids_in_the_teachers_order(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "a.jsonl", row(["Ada", "left"], ["PER", "O"]), row(["Rome"], ["LOC"]))
    data = prepare(TOKEN_ROWS, both(path), TAGS)
    assert data.train["label"] == [[1, 0], [2]]
    assert data.train["words"] == [["Ada", "left"], ["Rome"]]
    assert prepare(TOKEN_ROWS, both(path)).label_names == ["LOC", "O", "PER"]
    with pytest.raises(DistillationError, match=r"the labels \['LOC'\], which the teacher does not know"):
        prepare(TOKEN_ROWS, both(path), ("O", "PER"))


@pytest.mark.parametrize("column", ["ner_tags", "tags", "labels", "label"])
def test_ids_mean_their_class_label_or_the_label_names(tmp_path: Path, column: str) -> None:
    rows = {"tokens": [["Ada", "left"], ["Rome"]], column: [[0, 1], [2]]}
    features = Features({"tokens": List(Value("string")), column: List(ClassLabel(names=["PER", "O", "LOC"]))})
    DatasetDict(train=Dataset.from_dict(rows, features), test=Dataset.from_dict(rows, features)).save_to_disk(
        tmp_path / "s"
    )
    assert prepare(TOKEN_ROWS, str(tmp_path / "s"), TAGS).train["label"] == [[1, 0], [2]]
    path = write_rows(tmp_path, "a.jsonl", row(["Ada", "left"], [0, 1], column), row(["Rome"], [2], column))
    assert prepare(TOKEN_ROWS, both(path), TAGS, label_names=["PER", "O", "LOC"]).train["label"] == [[1, 0], [2]]
    assert prepare(TOKEN_ROWS, both(path), TAGS).train["label"] == [[0, 1], [2]]


def test_null_is_no_tag_for_a_row_or_a_word(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "a.jsonl", row(["Ada", "left"], None), row(["in", "Rome"], [None, "LOC"]))
    data = prepare(TOKEN_ROWS, both(path), TAGS)
    assert data.train["label"] == [[-100, -100], [-100, 2]]
    assert data.labelled["words"] == [["in", "Rome"]]
    encoded = encode(data.train, tiny_tokenizer())
    assert labelled_rows(encoded, TOKEN_ROWS)["label"] == [[-100, -100, 2, -100]]


def test_text_is_split_at_white_space(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "a.jsonl", {"text": "Ada  left\tRome ", "tags": ["PER", "O", "LOC"]})
    more = write(tmp_path, "more.txt", "Bob came.\n  \n")
    data = prepare(TOKEN_ROWS, both(path), TAGS, unlabelled=[more])
    assert data.train["words"] == [["Ada", "left", "Rome"], ["Bob", "came."]]
    assert data.train["label"] == [[1, 0, 2], [-100, -100]]


def test_a_transfer_set_of_words_may_call_them_otherwise(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "a.jsonl", {"sentence": ["Ada", "left"], "tags": ["PER", "O"]})
    more = write_rows(tmp_path, "b.jsonl", row(["in", "Rome"], ["O", "LOC"], "tags"))
    data = prepare(TOKEN_ROWS, both(path), TAGS, unlabelled=[more], text_columns="sentence")
    assert data.train["words"] == [["Ada", "left"], ["in", "Rome"]]
    assert data.train["label"] == [[1, 0], [-100, -100]]


def test_a_test_split_without_tags_gives_way(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_rows(tmp_path, f"{split}.jsonl", row(["Ada"], ["PER"]), row(["it"], ["O"]))
    write_rows(tmp_path, "test.jsonl", row(["Rome"], []))
    data = prepare(TOKEN_ROWS, str(tmp_path), TAGS)
    assert data.test["words"] == [["Ada"], ["it"]]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            [row(["Ada"], ["PER"]), row(["in", "Rome"], ["LOC"])],
            {},
            r"row 1 \(counted from 0\) has 2 words in 'tokens' and 1 tags in 'ner_tags'",
        ),
        (
            [row(["Ada"], "PER")],
            {},
            "label column 'ner_tags' must hold a list of tags a row, one a word, but it holds V",
        ),
        ([row(["Ada"], [{"tag": 1}])], {}, "must hold a list of tags a row, one a word, but it holds List"),
        ([row([1, 2], ["O", "O"])], {"text_columns": "tokens"}, "column 'tokens' must hold a list of words a row, or"),
        ([row(["Ada"], ["O"])], {"text_columns": "ner_tags"}, "it holds the labels"),
        ([row(["Ada"], ["O"])], {"text_columns": "token"}, "names the column 'token'.*Did you mean 'tokens'"),
        ([row(["Ada"], ["O"])], {"text_columns": ["a", "b"]}, "token classification reads one column of words"),
        ([{"tokens": ["Ada"]}], {}, "no split has the label column 'ner_tags': the columns are"),
        ([row(["Ada"], [True])], {}, "holds true and false"),
        ([row(["Ada"], [7])], {}, r"holds \[7\], but the labels are \['O', 'PER', 'LOC'\]"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, rows: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        prepare(TOKEN_ROWS, both(write_rows(tmp_path, "a.jsonl", *rows)), TAGS, **options)


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(DistillationError, match="only a fast tokenizer tells, but this is a ByT5Tokenizer"):
        encode(normalised([["a"]], [[0]]), ByT5Tokenizer())
