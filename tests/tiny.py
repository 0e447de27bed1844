"""Tiny models, tokenizers and data sets that the tests share: made in memory, without network or files."""

from typing import Any

import torch
from datasets import ClassLabel, Dataset, Features, Value
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

WORDS = [
    "the",
    "a",
    "film",
    "stock",
    "match",
    "goal",
    "bank",
    "plot",
    "actor",
    "price",
    "team",
    "score",
    "market",
    "scene",
    "player",
    "rate",
    "cast",
    "fund",
    "coach",
]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOPICS = ("film", "money", "sport")
LIKE_BERT = ("roberta", "xlm-roberta", "camembert", "data2vec-text", "ernie")
NORM_FIRST = ("megatron-bert", "xlm-roberta-xl", "roberta-prelayernorm")
ROTARY = ("roformer", "nomic_bert", "gte")
FAMILIES = ("bert", *LIKE_BERT, *NORM_FIRST, *ROTARY, "electra", "mpnet", "distilbert", "modernbert")

SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": len(WORDS) + len(SPECIALS),
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
DISTILBERT_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
}

BART_PART = {"layers": 4, "attention_heads": 2, "ffn_dim": 32}
ENCODER_DECODER = {"d_model": 16, "vocab_size": 24, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
# Families of which layers are cut, but nothing inside a layer.
DEPTH_ONLY = (
    *("albert", "big_bird", "convbert", "deberta", "eurobert", "jina_embeddings_v3", "longformer", "mobilebert"),
    *("rembert", "xlnet"),
)
# Architectures of other sizes: what stands for `SHAPE` in them.
OTHERS: dict[str, dict[str, Any]] = {
    "albert": {**SHAPE, "embedding_size": 8},
    "bart": {
        **ENCODER_DECODER,
        **{f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in BART_PART.items()},
        "max_position_embeddings": 40,
    },
    "convbert": {**SHAPE, "embedding_size": 16, "head_ratio": 1},
    "deberta": {**SHAPE, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "eurobert": {**SHAPE, "num_key_value_heads": 1, "mask_token_id": 4},
    "mobilebert": {**SHAPE, "embedding_size": 16, "intra_bottleneck_size": 16},
    "rembert": {**SHAPE, "input_embedding_size": 8, "output_embedding_size": 8},
    "canine": {**SHAPE, "local_transformer_stride": 8, "num_hash_functions": 2, "num_hash_buckets": 64},
    "esm": {**SHAPE, "mask_token_id": 4},
    "fnet": {**{key: value for key, value in SHAPE.items() if "heads" not in key}, "tpu_short_seq_length": 40},
    "funnel": {
        **{"vocab_size": 24, "block_sizes": [2, 2], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32},
        **{"pad_token_id": 0, "num_decoder_layers": 1},
    },
    "longformer": {**SHAPE, "attention_window": 4, "sep_token_id": 3},
    "luke": {**SHAPE, "entity_vocab_size": 8, "entity_emb_size": 8},
    "nystromformer": {**SHAPE, "num_landmarks": 8, "segment_means_seq_len": 8},
    "gte": {**SHAPE, "type_vocab_size": 2},
    "xlm-roberta-xl": {**SHAPE, "type_vocab_size": 2},
    "perceiver": {
        **{"vocab_size": 24, "max_position_embeddings": 40, "d_model": 16, "d_latents": 16, "num_latents": 4},
        **{"num_self_attends_per_block": 2, "num_self_attention_heads": 2, "num_cross_attention_heads": 2},
    },
    "t5": {**ENCODER_DECODER, "d_kv": 8, "d_ff": 32, "num_layers": 4, "num_decoder_layers": 4, "num_heads": 2},
    "xlm": {
        **{"n_words": 24, "emb_dim": 16, "n_layers": 4, "n_heads": 2, "max_position_embeddings": 40},
        **{"pad_index": 0, "pad_token_id": 0, "mask_token_id": 4},
    },
    "xlnet": {"vocab_size": 24, "d_model": 16, "n_layer": 4, "n_head": 2, "d_inner": 32, "pad_token_id": 0},
    "xmod": {**SHAPE, "languages": ["en_XX"], "default_language": "en_XX"},
}


def tiny_config(family: str = "bert", labels: tuple[str, ...] = TOPICS, **shape: Any) -> PreTrainedConfig:
    """The config of a tiny model."""
    shape = {**OTHERS.get(family, SHAPE), **shape}
    if family == "distilbert":
        shape = {DISTILBERT_NAMES.get(key, key): value for key, value in shape.items()}
    if family in ("electra", "roformer"):
        shape["embedding_size"] = shape["hidden_size"]
    if family == "modernbert":
        shape |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3, "local_attention": 8}
    config = AutoConfig.for_model(family, **shape)
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: index for index, name in enumerate(labels)}
    return config


def tiny_model(family: str = "bert", labels: tuple[str, ...] = TOPICS, seed: int = 0, **shape: Any) -> PreTrainedModel:
    """A tiny classifier with random weights, a head that looks trained (non-zero biases) and no real knowledge."""
    config = tiny_config(family, labels, **shape)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer over `WORDS` with BERT's special tokens and segment ids."""
    vocabulary = {word: index for index, word in enumerate(SPECIALS + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=40,
    )


def tiny_rows(count: int = 24, unlabelled: int = 0, seed: int = 0) -> Dataset:
    """`count` labelled texts about `TOPICS`, then `unlabelled` texts whose label is null; lengths are ragged."""
    generator = torch.Generator().manual_seed(seed)
    texts, labels = [], []
    for row in range(count + unlabelled):
        length = int(torch.randint(2, 12, (1,), generator=generator))
        chosen = torch.randint(0, len(WORDS), (length,), generator=generator)
        texts.append(" ".join(WORDS[index] for index in chosen))
        labels.append(row % len(TOPICS) if row < count else None)
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(TOPICS))})
    return Dataset.from_dict({"text": texts, "label": labels}, features=features)
