"""A trimmed vocabulary against the whole one: the same pieces, the same logits, on tokenizers trained or drawn here."""

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
    ByT5Tokenizer,
    CamembertTokenizer,
    DebertaV2Tokenizer,
    DistilBertTokenizer,
    MPNetTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    TokenizersBackend,
    XLMRobertaTokenizer,
    pipeline,
)

from distilnlp.errors import DistillationError
from distilnlp.students import trim_vocabulary
from tests.tiny import tiny_model, tiny_tokenizer

CORPUS = [
    "the market rose after the central bank lowered rates and traders bought shares",
    "the marketing team traded bankers for trainers in a lower central bracket",
    "the player scored a late goal and the trainer praised the goalkeeper's playing",
    "a lowering sky, late rain; the game was played again at a later date",
]
TEXTS = ["the bank lowered rates", "a trainer played the goalkeeper again Ω", "late shares", ""]
PAIRED = ["late shares", "the bank", "a trainer", "the bank lowered rates again"]
UNSEEN = "marketplaces restart"
WORDPIECE = {"[PAD]": 0, "[unused0]": 1, "[unused1]": 2, "[UNK]": 3, "[CLS]": 4, "[SEP]": 5, "[MASK]": 6}
Pair = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def trained(model: Any, trainer: Any, pre_tokenizer: Any) -> dict[str, Any]:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(CORPUS, trainer)
    return json.loads(tokenizer.to_str())["model"]


def numbered(first: dict[str, int], pieces: Any, *last: str) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(dict.fromkeys([*first, *sorted(pieces), *last]))}


def wordpieces() -> Any:
    trainer = trainers.WordPieceTrainer(vocab_size=150, show_progress=False)
    return trained(models.WordPiece(unk_token="[UNK]"), trainer, pre_tokenizers.BertPreTokenizer())["vocab"]


def byte_pairs() -> tuple[Any, list[tuple[str, str]]]:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False)
    model = trained(models.BPE(), trainer, pre_tokenizers.ByteLevel(add_prefix_space=False))
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def bert(tokenizer_class: Any = BertTokenizer) -> PreTrainedTokenizerBase:
    return tokenizer_class(vocab=numbered(WORDPIECE, wordpieces()), model_max_length=40)


def mpnet() -> PreTrainedTokenizerBase:
    first = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "[unused0]": 4, "[UNK]": 5}
    return MPNetTokenizer(vocab=numbered(first, wordpieces(), "<mask>"))


def roberta() -> PreTrainedTokenizerBase:
    pieces, merges = byte_pairs()
    first = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    return RobertaTokenizer(vocab=numbered(first, pieces, "<mask>"), merges=merges)


def deberta() -> PreTrainedTokenizerBase:
    trainer = trainers.UnigramTrainer(vocab_size=120, show_progress=False)
    scored = trained(models.Unigram(), trainer, pre_tokenizers.Metaspace())["vocab"]
    first = [("[PAD]", 0.0), ("[unused0]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", -1.0)]
    return DebertaV2Tokenizer(vocab=[*first, *map(tuple, scored)], unk_id=4)  # [MASK] lies beyond the pieces


def xlm_roberta(tokenizer_class: Any = XLMRobertaTokenizer) -> PreTrainedTokenizerBase:
    trainer = trainers.UnigramTrainer(vocab_size=120, show_progress=False)
    scored = trained(models.Unigram(), trainer, pre_tokenizers.Metaspace())["vocab"]
    first = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return tokenizer_class(vocab=[*first, *map(tuple, scored), ("<mask>", 0.0)], model_max_length=38)


def modernbert() -> PreTrainedTokenizerBase:
    pieces, merges = byte_pairs()
    tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    specials = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    template = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=specials
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return fast(tokenizer)


def mmbert() -> PreTrainedTokenizerBase:
    """BPE over characters with bytes to fall back to, and marks for blanks: Gemma's, which multilingual ones use."""
    spaces = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    model = trained(models.BPE(), trainer, spaces)
    first = {name: index for index, name in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    pieces = numbered(first, [*(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]])
    options = {"unk_token": "[UNK]", "fuse_unk": True, "byte_fallback": True}
    tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=[tuple(merge) for merge in model["merges"]], **options))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens(list(first))
    ends = [(name, first[name]) for name in ("[CLS]", "[SEP]")]
    template = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B [SEP]"}
    tokenizer.post_processor = processors.TemplateProcessing(**template, special_tokens=ends)
    return fast(tokenizer)


def characters() -> PreTrainedTokenizerBase:
    """BPE over characters, with an unknown token, marks inside and at the end of words, and a template by BERT."""
    marks = {"continuing_subword_prefix": "@@", "end_of_word_suffix": "</w>"}
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["[PAD]", "[UNK]"], show_progress=False, **marks)
    spec = trained(models.BPE(unk_token="[UNK]", **marks), trainer, pre_tokenizers.Whitespace())
    tokenizer = Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": spec}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    return fast(tokenizer)


def fast(tokenizer: Tokenizer) -> PreTrainedTokenizerBase:
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, mask_token="[MASK]", model_max_length=40)


ZOO: dict[str, tuple[str, Callable[[], PreTrainedTokenizerBase]]] = {
    "bert": ("bert", bert),
    "electra": ("electra", bert),
    "distilbert": ("distilbert", partial(bert, DistilBertTokenizer)),
    "mpnet": ("mpnet", mpnet),
    "roberta": ("roberta", roberta),
    "xlm-roberta": ("xlm-roberta", xlm_roberta),
    "camembert": ("camembert", partial(xlm_roberta, CamembertTokenizer)),
    "deberta-v2": ("deberta-v2", deberta),
    "modernbert": ("modernbert", modernbert),
    "mmbert": ("modernbert", mmbert),
    "characters": ("bert", characters),
    "words": ("bert", tiny_tokenizer),
}


def model_for(
    tokenizer: PreTrainedTokenizerBase, family: str = "bert", auto_class: Any = None, extra: int = 3, **settings: Any
) -> PreTrainedModel:
    """A tiny model in float64 with `extra` rows that no token has; its config names the special tokens."""
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep", "mask")}
    model = tiny_model(family, num_hidden_layers=2, vocab_size=len(tokenizer) + extra, pad_token_id=ids["pad_token_id"])
    config = copy.deepcopy(model.config)
    for name, value in (ids | settings).items():
        setattr(config, name, value)
    torch.manual_seed(0)
    model = (auto_class or AutoModelForSequenceClassification).from_config(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def outputs(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *texts: list[str]) -> Tensor:
    inputs = tokenizer(*texts, padding=True, truncation=True, max_length=14, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs)[0]


def cut(tokenizer: PreTrainedTokenizerBase, *texts: list[str], **options: Any) -> list[list[str]]:
    return [encoding.tokens for encoding in tokenizer(*texts, **options).encodings]


@pytest.fixture(params=ZOO)
def whole(request: pytest.FixtureRequest) -> Pair:
    family, make = ZOO[request.param]
    tokenizer = make()
    return model_for(tokenizer, family), tokenizer


@pytest.fixture
def trimmed(whole: Pair) -> Pair:
    return trim_vocabulary(*whole, TEXTS + PAIRED)


def test_the_texts_are_cut_as_before(whole: Pair, trimmed: Pair) -> None:
    for options in ({}, {"truncation": True, "max_length": 7}, {"add_special_tokens": False}):
        assert cut(trimmed[1], TEXTS, **options) == cut(whole[1], TEXTS, **options)
        assert cut(trimmed[1], TEXTS, PAIRED, **options) == cut(whole[1], TEXTS, PAIRED, **options)
    assert len(trimmed[1]) == trimmed[0].config.vocab_size < len(whole[1])


def test_the_logits_are_as_before(whole: Pair, trimmed: Pair) -> None:
    for texts in ([TEXTS], [TEXTS, PAIRED]):
        torch.testing.assert_close(outputs(*trimmed, *texts), outputs(*whole, *texts), rtol=0, atol=1e-12)


def test_special_tokens_keep_their_place_in_tokenizer_config_and_embeddings(whole: Pair, trimmed: Pair) -> None:
    model, tokenizer = trimmed
    assert tokenizer.special_tokens_map == whole[1].special_tokens_map
    assert tokenizer.model_max_length == whole[1].model_max_length
    for name in ("pad", "cls", "sep", "mask"):
        index = getattr(tokenizer, f"{name}_token_id")
        assert tokenizer.convert_ids_to_tokens(index) == getattr(whole[1], f"{name}_token")
        assert getattr(model.config, f"{name}_token_id") == index
    assert model.get_input_embeddings().padding_idx == tokenizer.pad_token_id


def test_what_was_saved_loads_again(whole: Pair, trimmed: Pair, tmp_path: Path) -> None:
    for part in trimmed:
        part.save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert type(tokenizer) is type(trimmed[1])
    assert tokenizer.get_vocab() == trimmed[1].get_vocab()
    assert tokenizer([*TEXTS, UNSEEN])["input_ids"] == trimmed[1]([*TEXTS, UNSEEN])["input_ids"]
    torch.testing.assert_close(outputs(model, tokenizer, TEXTS), outputs(*whole, TEXTS), rtol=0, atol=1e-12)
    assert trim_vocabulary(model, tokenizer, TEXTS + PAIRED)[1].get_vocab() == tokenizer.get_vocab()
    answer = pipeline("text-classification", model=str(tmp_path), device="cpu")(TEXTS[0], top_k=1)[0]
    expected = outputs(*whole, TEXTS[:1]).softmax(-1)[0].max().item()
    assert answer["score"] == pytest.approx(expected, abs=1e-5)


def test_the_originals_stay_as_they_are(whole: Pair) -> None:
    model, tokenizer = whole
    tokenizer(TEXTS, truncation=True, max_length=7, padding=True)
    before = tokenizer.backend_tokenizer.to_str(), dict(tokenizer.init_kwargs), model.config.to_dict()
    weights = copy.deepcopy(model.state_dict())
    trim_vocabulary(model, tokenizer, TEXTS)
    assert (tokenizer.backend_tokenizer.to_str(), tokenizer.init_kwargs, model.config.to_dict()) == before
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in ZOO if name != "words"])
def test_words_outside_of_the_texts_are_still_spelled(name: str) -> None:
    family, make = ZOO[name]
    tokenizer = make()
    trimmed = trim_vocabulary(model_for(tokenizer, family), tokenizer, TEXTS)[1]
    whole, pieces = cut(tokenizer, [UNSEEN])[0], cut(trimmed, [UNSEEN])[0]
    assert len(pieces) > len(whole)
    assert tokenizer.unk_token not in pieces


MASKED_LMS = [(name, {"tie_word_embeddings": tied}) for name in ZOO for tied in (True, False)]
NO_DECODER = ("deberta-v2", {"legacy": False})  # its newer head multiplies by the embeddings; only a bias is its own


@pytest.mark.parametrize(("name", "setting"), [*MASKED_LMS, NO_DECODER])
def test_a_masked_lm_has_the_same_logits_for_the_pieces_left(name: str, setting: dict[str, bool]) -> None:
    family, make = ZOO[name]
    tokenizer = make()
    model = model_for(tokenizer, family, AutoModelForMaskedLM, **setting)
    small, trimmed = trim_vocabulary(model, tokenizer, TEXTS)
    rows = tokenizer.convert_tokens_to_ids(trimmed.convert_ids_to_tokens(list(range(len(trimmed)))))
    torch.testing.assert_close(outputs(small, trimmed, TEXTS), outputs(model, tokenizer, TEXTS)[..., rows])
    if "tie_word_embeddings" in setting:
        is_tied = small.get_output_embeddings().weight is small.get_input_embeddings().weight
        assert is_tied is setting["tie_word_embeddings"]


@pytest.mark.parametrize("padding", ["[unused1]", "[SEP]"])
def test_positions_that_are_numbered_from_the_padding_id_do_not_move(padding: str) -> None:
    tokenizer = bert()
    tokenizer.pad_token = padding
    model = model_for(tokenizer, "roberta")
    small, trimmed = trim_vocabulary(model, tokenizer, TEXTS)
    assert trimmed.pad_token_id == small.config.pad_token_id == tokenizer.pad_token_id
    assert trimmed.convert_ids_to_tokens([0, 1, 2]) == ["[PAD]", "[unused0]", "[unused1]"]
    torch.testing.assert_close(outputs(small, trimmed, TEXTS), outputs(model, tokenizer, TEXTS), rtol=0, atol=1e-12)


def test_dtype_mode_and_device_stay_and_rows_without_a_token_go() -> None:
    tokenizer = bert()
    model = model_for(tokenizer, extra=7).bfloat16().train()
    small, trimmed = trim_vocabulary(model, tokenizer, CORPUS)
    assert small.training
    assert (small.dtype, small.config.dtype, small.device) == (torch.bfloat16, torch.bfloat16, model.device)
    assert small.num_parameters() == model.num_parameters() - 16 * (len(tokenizer) + 7 - len(trimmed))


def test_the_config_goes_on_naming_its_tokens() -> None:
    tokenizer = bert()
    model = model_for(tokenizer, eos_token_id=[2, 5], bos_token_id=len(tokenizer) + 2)  # [unused1], [SEP]; no token
    small, trimmed = trim_vocabulary(model, tokenizer, TEXTS)
    assert small.config.eos_token_id == trimmed.convert_tokens_to_ids(["[unused1]", "[SEP]"])
    assert small.config.bos_token_id is None


def test_texts_are_read_whole_and_the_settings_of_the_backend_stay() -> None:
    tokenizer = modernbert()  # its padding token comes after the pieces
    tokenizer(CORPUS, truncation=True, max_length=4, padding=True)
    trimmed = trim_vocabulary(model_for(tokenizer), tokenizer, CORPUS[:2])[1]
    assert trimmed.pad_token_id != tokenizer.pad_token_id
    assert trimmed.backend_tokenizer.truncation == tokenizer.backend_tokenizer.truncation
    assert trimmed.backend_tokenizer.padding == tokenizer.backend_tokenizer.padding | {"pad_id": trimmed.pad_token_id}
    assert cut(trimmed, CORPUS[:2]) == cut(tokenizer, CORPUS[:2])


def test_special_tokens_in_the_text_are_split_where_the_tokenizer_splits_them() -> None:
    tokenizer = bert()
    tokenizer.add_special_tokens({"extra_special_tokens": ["laterate"]})
    tokenizer.split_special_tokens = True
    trimmed = trim_vocabulary(model_for(tokenizer), tokenizer, ["laterate"])[1]
    assert cut(trimmed, ["laterate"]) == cut(tokenizer, ["laterate"]) != [["[CLS]", "laterate", "[SEP]"]]


def test_neither_name_nor_merges_of_the_original_are_saved_with_the_copy(tmp_path: Path) -> None:
    vocabulary = numbered({}, ["a", "b", "c", "ab", "bc"])
    tokenizer = TokenizersBackend(vocab=vocabulary, merges=[("b", "c"), ("a", "b")], name_or_path="some/letters")
    trimmed = trim_vocabulary(tiny_model(), tokenizer, ["abab"])[1]
    trimmed.save_pretrained(tmp_path)
    assert trimmed.name_or_path == ""
    assert "merges" not in json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert cut(AutoTokenizer.from_pretrained(tmp_path), ["abab", "bc"]) == [["ab", "ab"], ["b", "c"]]


def test_a_column_of_a_data_set_serves_as_texts() -> None:
    tokenizer = bert()
    column = Dataset.from_dict({"text": TEXTS})["text"]
    from_column = trim_vocabulary(model_for(tokenizer), tokenizer, column)[1]
    assert from_column.get_vocab() == trim_vocabulary(model_for(tokenizer), tokenizer, TEXTS)[1].get_vocab()


class Changing:
    """Texts that are others each time they are read."""

    def __init__(self) -> None:
        self.readings = [[UNSEEN], TEXTS]

    def __iter__(self) -> Iterator[str]:
        return iter(self.readings.pop())


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "at least one text"),
        ("the bank", "got one str"),
        (["the bank", None], "got None of type NoneType"),
        (iter(TEXTS), "read twice"),
        (Changing(), "'marketplaces restart' was"),
    ],
)
def test_wrong_texts_are_refused(texts: Any, message: str) -> None:
    tokenizer = bert()
    with pytest.raises(DistillationError, match=message):
        trim_vocabulary(model_for(tokenizer), tokenizer, texts)


def test_a_tokenizer_that_does_not_fit_is_refused() -> None:
    model = model_for(bert())
    bigger = bert()
    bigger.add_tokens(["new", "newer", "newest", "one", "two"])
    with pytest.raises(DistillationError, match="a row for each token"):
        trim_vocabulary(model, bigger, TEXTS)
    with pytest.raises(DistillationError, match="got ByT5Tokenizer, which has none"):
        trim_vocabulary(model, ByT5Tokenizer(), TEXTS)
    gaps = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 5}, unk_token="a")))
    gaps.add_tokens(["new"])  # 2, the number of words
    with pytest.raises(DistillationError, match=r"'new'.* would get other ids"):
        trim_vocabulary(model, gaps, ["a", "b"])
    random = roberta()
    random.backend_tokenizer.model.dropout = 0.5
    with pytest.raises(DistillationError, match=r"BPE dropout is 0\.5"):
        trim_vocabulary(model_for(random), random, TEXTS)


def test_a_model_of_another_family_is_refused() -> None:
    config = AutoConfig.for_model("gpt2", n_embd=8, n_layer=1, n_head=1, vocab_size=200)
    with pytest.raises(DistillationError, match="got 'gpt2'"):
        trim_vocabulary(AutoModel.from_config(config), bert(), TEXTS)
