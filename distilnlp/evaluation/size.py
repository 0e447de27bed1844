"""Size of a model: parameters, and bytes on disk."""

import math
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_torch_storage_id
from safetensors import safe_open
from transformers import PreTrainedModel


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model, tied ones counted once, and the bytes of its weights."""

    parameters: int  # all of them
    embedding_parameters: int  # those of its `nn.Embedding` tables: words, positions, segments
    other_parameters: int  # the rest, which does the computing
    bytes: int  # of its safetensors


def measure_size(model: PreTrainedModel) -> ModelSize:
    """Return a model's size; bytes are those of its weight files, or what they would take if it has none yet.

    A graph that stands in for a model has its `size` with it.
    """
    own = getattr(model, "size", None)
    if isinstance(own, ModelSize):
        return own
    total = model.num_parameters()
    other = model.num_parameters(exclude_embeddings=True)
    # Parameters and persistent buffers; those that share memory are saved once.
    tensors = {get_torch_storage_id(tensor): tensor for tensor in model.state_dict().values()}.values()
    weight_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if model.name_or_path:  # built in memory it has none; an empty path would mean the working folder
        files = list(Path(model.name_or_path).glob("*.safetensors"))
        # A student cut from a loaded teacher still names the teacher's folder; another model's files differ in size.
        if files and sum(map(_elements_in, files)) == sum(tensor.numel() for tensor in tensors):
            weight_bytes = sum(file.stat().st_size for file in files)
    return ModelSize(total, total - other, other, weight_bytes)


def _elements_in(file: Path) -> int:
    """Count a weight file's elements from its header, without reading the weights."""
    with safe_open(file, framework="pt") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118 (not a dict)
    return sum(math.prod(shape) for shape in shapes)
