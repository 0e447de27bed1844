"""The shards of a cache: safetensors files, memory-mapped, each with the keys of its rows."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from distilnlp.answers.layout import LOGITS, REST
from distilnlp.answers.manifest import MANIFEST, DamagedManifestError, read_manifest
from distilnlp.answers.records import is_intact
from distilnlp.answers.row_keys import KeyIndex, Keys
from distilnlp.errors import DistillationError
from distilnlp.files import PARTIAL

KEYS, ENDS = "keys", "ends"


def write_shard(path: Path, keys: Keys, fields: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Write a shard so that a kill leaves all or none: of each field the numbers, flat, and how many each row has."""
    tensors = {KEYS: torch.from_numpy(np.ascontiguousarray(keys))}
    for name, (flat, counts) in fields.items():
        tensors[name] = flat.contiguous()
        tensors[f"{name}.{ENDS}"] = counts.cumsum(0)
    temporary = path.with_suffix(PARTIAL)
    try:
        save_file(tensors, temporary)
        temporary.replace(path)
    except BaseException:  # a full disk among them: half a file helps nobody
        temporary.unlink(missing_ok=True)
        raise


def damaged_shards(folder: str | Path) -> list[str]:
    """Return the files of a finished cache that are missing, or whose bytes are not those that were written."""
    try:
        manifest = read_manifest(folder)
    except DamagedManifestError:
        manifest = None
    if manifest is None or not manifest.is_finished:
        return [MANIFEST]
    return [shard.file for shard in manifest.shards if not is_intact(Path(folder), shard)]


class AnswerStore:
    """Reads a finished cache; what is not asked for stays on disk.

    Args:
        folder: of the cache.
        verify: compare the checksum of every shard, once, at about 1 GB a second.

    Raises:
        DistillationError: there is no cache, it is not finished, or a shard is damaged.
    """

    def __init__(self, folder: str | Path, verify: bool = True) -> None:
        self.folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest is None or not manifest.is_finished:
            state = "has no cache" if manifest is None else "has a cache that was not written to its end"
            raise DistillationError(
                f"the folder {folder} {state}. Write it first: distilnlp cache RECIPE, or teacher_cache={folder!s} in "
                "a training that has the teacher."
            )
        self.manifest = manifest
        damaged = damaged_shards(folder) if verify else []
        if damaged:
            raise DistillationError(
                f"{len(damaged)} of the {manifest.num_shards} shards of the cache {folder} are missing or were altered "
                f"after they were written: {', '.join(damaged[:5])}. Write the cache again (distilnlp cache RECIPE, or "
                f"a training with teacher_cache={folder!s}): the others are kept."
            )
        self._shards = []
        for path in (self.folder / shard.file for shard in manifest.shards):
            with safe_open(path, framework="pt") as file:
                self._shards.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        self._index = KeyIndex(np.concatenate([shard[KEYS].numpy() for shard in self._shards]))

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Return for each key `[count, 16]` the place of its answer, -1 where there is none."""
        return self._index.find(keys)

    def rest_share(self, rows: int = 1000) -> float:
        """Return which share of a vocabulary's softened probability is not told apart, a mean over the first rows."""
        fields = self.read(range(min(rows, self.manifest.rows)), (LOGITS, REST))
        rest = fields[REST].float()
        top = fields[LOGITS].float().reshape(len(rest), -1) / (self.manifest.profile.temperature or 1.0)
        return (rest - top.logsumexp(dim=-1)).sigmoid().mean().item()

    def read(self, places: Sequence[int], names: Iterable[str]) -> dict[str, Tensor]:
        """Return the kept numbers of some rows, by field, flat, one row after the other."""
        rows = [divmod(int(place), self.manifest.rows_per_shard) for place in places]
        return {name: torch.cat([_row(self._shards[shard], name, row) for shard, row in rows]) for name in names}


def _row(shard: Mapping[str, Tensor], name: str, row: int) -> Tensor:
    ends = shard[f"{name}.{ENDS}"]
    start = int(ends[row - 1]) if row else 0
    return shard[name][start : int(ends[row])]
