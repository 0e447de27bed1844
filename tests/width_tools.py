"""What the tests of narrower students share: float64 models of every family and head, and ragged batches."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from distilnlp.models.families import FAMILIES
from distilnlp.signals import named_inputs, select_inputs
from tests.tiny import SHAPE, tiny_model

OPTIONS = {
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "layer_norm_eps": 1e-12,
    },
    "modernbert": {"norm_eps": 1e-12},
    "xlm-roberta-xl": {"layer_norm_eps": 1e-12},
}
SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 24, "num_hidden_layers": 2}
NARROW = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 12}
NARROWABLE = [name for name, family in FAMILIES.items() if family.ffn is not None]
HEADS = (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoModelForQuestionAnswering,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
)


def model_of(family: str, head: Any = AutoModelForSequenceClassification, **shape: Any) -> PreTrainedModel:
    """A float64 model with biases and gains that look trained."""
    config = tiny_model(family, **{**OPTIONS.get(family, {}), **SIZES, **shape}).config
    if head is AutoModelForQuestionAnswering:
        config.num_labels = 2
    torch.manual_seed(0)
    model = head.from_config(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


@cache
def batch(padding: int = 0, rows: int = 24) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    length = 12 + padding
    ids = torch.randint(5, SHAPE["vocab_size"], (rows, 12), generator=generator)
    real = torch.arange(length) < torch.randint(3, 13, (rows, 1), generator=generator)
    return {"input_ids": F.pad(ids, (0, padding)) * real, "attention_mask": real.long()}


def choices() -> dict[str, Tensor]:
    return {name: value.unflatten(0, (-1, 2)) for name, value in batch().items()}


def sample_for(model: PreTrainedModel) -> list[dict[str, Tensor]]:
    return [choices() if "MultipleChoice" in type(model).__name__ else batch()]


def outputs_of(model: PreTrainedModel, inputs: dict[str, Tensor] | None = None) -> Any:
    inputs = sample_for(model)[0] if inputs is None else inputs
    with torch.no_grad():
        return model(**select_inputs(inputs, named_inputs(model)), output_hidden_states=True, return_dict=True)


def emitted(model: PreTrainedModel) -> list[Tensor]:
    """The last hidden states at real tokens, then what the head gives."""
    outputs = outputs_of(model)
    names = [name for name in ("logits", "start_logits", "end_logits") if name in outputs]
    return [outputs.hidden_states[-1][batch()["attention_mask"].bool()], *(outputs[name] for name in names)]


def layers_of(model: PreTrainedModel) -> list[nn.Module]:
    return list(model.base_model.get_submodule(FAMILIES[model.config.model_type].layers))


def has_head(family: str, head: Any) -> bool:
    """Whether transformers has a model of a family with a head."""
    return type(tiny_model(family).config) in head._model_mapping
