"""The plan of a student: class, config and weights, changed step by step before any model exists."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.models.families import Family, find_family


@dataclass(frozen=True)
class Blueprint:
    """What a student will be made of. Each step of the construction takes one blueprint and returns another.

    Attributes:
        model_class: class of the student, with its head.
        config: config of the student; its own copy.
        weights: parameters by name; they share memory with the teacher until `assemble` copies them.
    """

    model_class: type[PreTrainedModel]
    config: PreTrainedConfig
    weights: Mapping[str, Tensor]

    @property
    def base_prefix(self) -> str:
        """What the names of the base model's weights begin with: `"bert."` under a head, `""` in a bare model."""
        prefix = f"{self.model_class.base_model_prefix}."
        return prefix if any(name.startswith(prefix) for name in self.weights) else ""


def blueprint_of(teacher: PreTrainedModel) -> Blueprint:
    """Describe a full copy of the teacher."""
    config = copy.deepcopy(teacher.config)
    # A student that carried the teacher's name would be taken for the teacher's checkpoint.
    config.name_or_path = ""
    # The weights decide: a model converted in memory, with `.half()` say, still has the old dtype in its config.
    config.dtype = teacher.dtype
    return Blueprint(type(teacher), config, teacher.state_dict())


def keep_layers(blueprint: Blueprint, layers: Sequence[int]) -> Blueprint:
    """Keep these layers only, renumbered from 0, in the weights and in the config."""
    family = find_family(blueprint.config.model_type)
    special = family.first_layer(blueprint.config)
    if special and layers[0] != 0:
        raise DistillationError(
            f"A {blueprint.config.model_type} student must begin with the teacher's layer 0, which {special}; got "
            f"layers {list(layers)}, and layer {layers[0]} would change in first place. Put 0 first in layers, or use "
            'layer_strategy "uniform" or "first".'
        )
    if family.has_shared_layers:
        return replace(blueprint, config=_share_less(blueprint.config, layers))
    weights = _renumber(blueprint.weights, f"{blueprint.base_prefix}{family.layers}.", layers)
    return replace(blueprint, config=_cut_config(blueprint.config, family, layers), weights=weights)


def _cut_config(config: PreTrainedConfig, family: Family, layers: Sequence[int]) -> PreTrainedConfig:
    config = copy.deepcopy(config)
    config.num_hidden_layers = len(layers)  # transformers maps this onto the name that the family uses
    for name in family.per_layer_settings:
        values = getattr(config, name)
        if isinstance(values, list):  # or one for all layers
            setattr(config, name, [values[layer] for layer in layers])
    keeps_numbers = list(layers) == list(range(len(layers)))
    for name in family.pattern_settings:
        if hasattr(config, name) and not keeps_numbers:
            delattr(config, name)
    return config


def _share_less(config: PreTrainedConfig, layers: Sequence[int]) -> PreTrainedConfig:
    """Return the config of so many runs of the one layer that all layers are."""
    groups = getattr(config, "num_hidden_groups", 1)
    if groups != 1:
        raise DistillationError(
            f"The layers of a {config.model_type} teacher must all be one, or it is not known which a student keeps; "
            f"its config has num_hidden_groups={groups}. Give a student of its own."
        )
    config = copy.deepcopy(config)
    config.num_hidden_layers = len(layers)
    return config


def _renumber(weights: Mapping[str, Tensor], prefix: str, layers: Sequence[int]) -> dict[str, Tensor]:
    """Drop the weights of the layers that are not kept and give the others their new number; the rest stays."""
    new_number = {str(layer): position for position, layer in enumerate(layers)}
    kept = {}
    for name, weight in weights.items():
        number, _, rest = name.removeprefix(prefix).partition(".")
        if not name.startswith(prefix):
            kept[name] = weight
        elif number in new_number:
            kept[f"{prefix}{new_number[number]}.{rest}"] = weight
    return kept


def assemble(blueprint: Blueprint, device: torch.device) -> PreTrainedModel:
    """Build the model of a blueprint, in eval mode, with its own copy of the weights."""
    with device if device.type == "meta" else nullcontext():  # a shape has nothing to be drawn
        student = blueprint.model_class(blueprint.config)
    # Laid out as a file holds them: products of other layouts round otherwise, and a loaded student would differ.
    layout = torch.contiguous_format
    weights = {name: weight.detach().clone(memory_format=layout) for name, weight in blueprint.weights.items()}
    try:
        # `assign` takes over the dtype of each weight; casting the model would also cast buffers that stay in float32.
        student.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise DistillationError(
            f"The model's weights must be exactly those of a {blueprint.model_class.__name__} with its config; "
            f"they are not. {error}\nUse a model as from_pretrained loads it: adapters merged, nothing quantized, "
            "no module replaced."
        ) from error
    student.tie_weights()  # the copies made above are separate, also where the teacher shares one tensor
    student.to(device)  # type: ignore[arg-type]  # transformers wraps `to` in a way that hides its signature
    return student.eval()
