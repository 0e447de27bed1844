"""Losses are functions of tensors: no model, no Trainer. Each returns its sum over valid items / a number of items."""

from distilnlp.losses.attention_relation import QueryKeyValue, minilm, minilmv2
from distilnlp.losses.feature import (
    activation_boundary,
    attention_kl,
    attention_mse,
    hidden_state_cosine,
    hidden_state_mse,
    neuron_selectivity,
    pkd,
)
from distilnlp.losses.hard import binary_cross_entropy, cross_entropy, squared_error
from distilnlp.losses.layer_attention import attended_layers
from distilnlp.losses.reduction import mean_over_items
from distilnlp.losses.relation import (
    ordered_pairs,
    ordered_triples,
    pooled,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)
from distilnlp.losses.response import dist, dkd, forward_kl, jensen_shannon, logit_mse, reverse_kl, standardized_kl

__all__ = [
    "QueryKeyValue",
    "activation_boundary",
    "attended_layers",
    "attention_kl",
    "attention_mse",
    "binary_cross_entropy",
    "cross_entropy",
    "dist",
    "dkd",
    "forward_kl",
    "hidden_state_cosine",
    "hidden_state_mse",
    "jensen_shannon",
    "logit_mse",
    "mean_over_items",
    "minilm",
    "minilmv2",
    "neuron_selectivity",
    "ordered_pairs",
    "ordered_triples",
    "pkd",
    "pooled",
    "reverse_kl",
    "rkd_angle",
    "rkd_distance",
    "similarity_preserving",
    "squared_error",
    "standardized_kl",
]
