"""Augmentation: more text for the teacher to label, made from the text there is."""

from distilnlp.augmentation.masked_lm import ReplaceWithMaskedLMConfig
from distilnlp.augmentation.method import MethodConfig
from distilnlp.augmentation.methods_by_name import METHODS, parse_augmentation
from distilnlp.augmentation.rows import augment
from distilnlp.augmentation.word_methods import MaskWordsConfig, ReplaceWordsConfig, SampleNgramsConfig

__all__ = [
    "METHODS",
    "MaskWordsConfig",
    "MethodConfig",
    "ReplaceWithMaskedLMConfig",
    "ReplaceWordsConfig",
    "SampleNgramsConfig",
    "augment",
    "parse_augmentation",
]
