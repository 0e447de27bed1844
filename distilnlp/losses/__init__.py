"""Losses are functions of tensors: no model, no Trainer. Each returns its sum over valid items / a number of items."""

from distilnlp.losses.feature import hidden_state_cosine, hidden_state_mse
from distilnlp.losses.reduction import mean_over_items
from distilnlp.losses.response import cross_entropy, forward_kl

__all__ = ["cross_entropy", "forward_kl", "hidden_state_cosine", "hidden_state_mse", "mean_over_items"]
