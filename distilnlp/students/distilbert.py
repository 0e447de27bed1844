"""From BERT to DistilBERT (Sanh et al., arXiv 1910.01108), exactly where the two families agree."""

from collections.abc import Mapping

import transformers
from torch import Tensor
from transformers import DistilBertConfig, PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.students.blueprint import Blueprint

CLASSES: dict[type[PreTrainedModel], type[PreTrainedModel]] = {
    transformers.BertModel: transformers.DistilBertModel,
    transformers.BertForSequenceClassification: transformers.DistilBertForSequenceClassification,
    transformers.BertForTokenClassification: transformers.DistilBertForTokenClassification,
    transformers.BertForQuestionAnswering: transformers.DistilBertForQuestionAnswering,
    transformers.BertForMaskedLM: transformers.DistilBertForMaskedLM,
    transformers.BertForMultipleChoice: transformers.DistilBertForMultipleChoice,
}

# What DistilBERT hard-codes, and the value that a BERT config without the entry stands for.
FIXED_SETTINGS: dict[str, object] = {
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}

# DistilBERT's name of a setting: BERT's.
RENAMED_SETTINGS = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
SHARED_SETTINGS = (
    "vocab_size",
    "max_position_embeddings",
    "initializer_range",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "tie_word_embeddings",
    "chunk_size_feed_forward",
    "id2label",
    "label2id",
    "problem_type",
    "output_hidden_states",
    "return_dict",
    "dtype",
)

# Applied in this order: a name comes before the shorter names that it contains.
RENAMED_WEIGHTS = (
    ("bert.pooler.dense", "pre_classifier"),
    ("bert.", "distilbert."),
    ("encoder.layer", "transformer.layer"),
    ("attention.self.query", "attention.q_lin"),
    ("attention.self.key", "attention.k_lin"),
    ("attention.self.value", "attention.v_lin"),
    ("attention.output.dense", "attention.out_lin"),
    ("attention.output.LayerNorm", "sa_layer_norm"),
    ("intermediate.dense", "ffn.lin1"),
    ("output.dense", "ffn.lin2"),
    ("output.LayerNorm", "output_layer_norm"),
    ("cls.predictions.transform.dense", "vocab_transform"),
    ("cls.predictions.transform.LayerNorm", "vocab_layer_norm"),
    ("cls.predictions.decoder", "vocab_projector"),
)


def bert_to_distilbert(blueprint: Blueprint) -> Blueprint:
    """Turn the blueprint of a BERT into that of a DistilBERT with the same hidden states for token type 0."""
    if blueprint.model_class not in CLASSES:
        known = ", ".join(bert.__name__ for bert in CLASSES)
        raise DistillationError(
            f"DistilBERT has a counterpart of {known}; got {blueprint.model_class.__name__}. "
            "Load the teacher with one of these classes, or leave model_type out to keep its own."
        )
    weights = _distilbert_weights(blueprint.weights, blueprint.base_prefix)
    return Blueprint(CLASSES[blueprint.model_class], _distilbert_config(blueprint.config), weights)


def _distilbert_config(config: PreTrainedConfig) -> DistilBertConfig:
    for name, expected in FIXED_SETTINGS.items():
        value = getattr(config, name, expected)
        if value != expected:
            raise DistillationError(
                f"DistilBERT can represent only {name}={expected!r}; the BERT teacher has {name}={value!r}. "
                "Leave model_type out, so that the student stays a BERT, or choose another teacher."
            )
    settings = {name: getattr(config, bert_name) for name, bert_name in RENAMED_SETTINGS.items()}
    settings |= {name: getattr(config, name) for name in SHARED_SETTINGS}
    head_dropout = config.classifier_dropout
    student = DistilBertConfig(
        **settings,
        seq_classif_dropout=config.hidden_dropout_prob if head_dropout is None else head_dropout,
        qa_dropout=0.0,  # BERT's question answering head has no dropout
    )
    student._attn_implementation = config._attn_implementation
    return student


def _distilbert_weights(weights: Mapping[str, Tensor], base_prefix: str) -> dict[str, Tensor]:
    """Rename the weights and fold row 0 of the token types, which DistilBERT lacks, into the position embeddings."""
    positions = f"{base_prefix}embeddings.position_embeddings.weight"
    token_types = f"{base_prefix}embeddings.token_type_embeddings.weight"
    # A masked LM shares this bias with its decoder; a bare DistilBERT has no pooler (under a head it is `bert.pooler`).
    dropped = {token_types, "cls.predictions.bias", "pooler.dense.weight", "pooler.dense.bias"}
    renamed = {_rename(name): weight for name, weight in weights.items() if name not in dropped}
    renamed[_rename(positions)] = weights[positions] + weights[token_types][0]  # [positions, width] + [width]
    return renamed


def _rename(name: str) -> str:
    for old, new in RENAMED_WEIGHTS:
        name = name.replace(old, new)
    return name
