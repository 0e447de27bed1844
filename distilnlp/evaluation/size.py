"""Size of a model: parameters, and bytes on disk."""

import math
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_torch_storage_id
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model, tied ones counted once, and the bytes of its weights.

    Attributes:
        parameters: all of them.
        embedding_parameters: those of its `nn.Embedding` tables: words, positions, segments.
        other_parameters: the rest, which does the computing.
        bytes: of its safetensors.
    """

    parameters: int
    embedding_parameters: int
    other_parameters: int
    bytes: int


def measure_size(model: PreTrainedModel) -> ModelSize:
    """Return a model's size; bytes are those of its weight files, or what they would take if it has none yet."""
    total = model.num_parameters()
    other = model.num_parameters(exclude_embeddings=True)
    return ModelSize(total, total - other, other, _weight_bytes(model))


def _weight_bytes(model: PreTrainedModel) -> int:
    tensors = _saved_tensors(model)
    files = _weight_files(model)
    # A student cut from a loaded teacher still names the teacher's folder; the files of another model have other sizes.
    if files and sum(map(_elements_in, files)) == sum(tensor.numel() for tensor in tensors):
        return sum(file.stat().st_size for file in files)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _saved_tensors(model: PreTrainedModel) -> list[Tensor]:
    """Return the parameters and persistent buffers; those that share memory, which are saved once, only once."""
    return list({get_torch_storage_id(tensor): tensor for tensor in model.state_dict().values()}.values())


def _weight_files(model: PreTrainedModel) -> list[Path]:
    if not model.name_or_path:  # built in memory; an empty path would mean the working folder
        return []
    return sorted(Path(model.name_or_path).glob("*.safetensors"))


def _elements_in(file: Path) -> int:
    """Count a weight file's elements from its header, without reading the weights."""
    with safe_open(file, framework="pt") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118 (not a dict)
    return sum(math.prod(shape) for shape in shapes)
