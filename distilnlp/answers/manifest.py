"""The manifest of a cache: what went into it, what it holds, and a checksum for each shard."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from distilnlp.errors import DistillationError, shown
from distilnlp.files import read_record, write_record
from distilnlp.signals import SignalProfile, SignalRequest

MANIFEST = "manifest.json"
FORMAT = 3


class DamagedManifestError(DistillationError):
    """The manifest of a cache cannot be read, so that nothing tells what the cache holds."""


@dataclass(frozen=True)
class Shard:
    """One file of a cache.

    Attributes:
        file: its name.
        rows: in it.
        checksum: its size and the BLAKE2b of its bytes; see `checksums`.
        error: by field, the largest difference between what the teacher gave and what is stored.
    """

    file: str
    rows: int
    checksum: str
    error: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What a cache holds.

    Attributes:
        identity: what went into it, by name: the teacher, the tokenizer, the data and so on.
        profile: of the teacher.
        request: the signals beside the logits.
        columns: what the keys were made of.
        dtype: of the numbers.
        top_k: logits kept of a vocabulary.
        rows: different rows in all.
        rows_per_shard: in every shard but the last.
        shards: empty until all are written.
    """

    identity: Mapping[str, object]
    profile: SignalProfile
    request: SignalRequest
    columns: tuple[str, ...]
    dtype: str
    top_k: int
    rows: int
    rows_per_shard: int
    shards: tuple[Shard, ...] = ()

    @property
    def num_shards(self) -> int:
        """How many shards the rows fill."""
        return -(-self.rows // self.rows_per_shard)

    @property
    def is_finished(self) -> bool:
        """Whether every shard was written."""
        return len(self.shards) == self.num_shards

    @property
    def error(self) -> dict[str, float]:
        """By field, the largest difference between what the teacher gave and what is stored."""
        names = {name for shard in self.shards for name in shard.error}
        return {name: max(shard.error.get(name, 0.0) for shard in self.shards) for name in sorted(names)}

    def differences(self, other: "Manifest") -> dict[str, str]:
        """Return by name what another cache was made of that this one was not, as text."""
        before, now = _what_matters(other), _what_matters(self)
        return {
            name: f"{name} (there {shown(before.get(name), 60)}, here {shown(now.get(name), 60)})"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        }


def _what_matters(manifest: Manifest) -> dict[str, object]:
    return {
        **manifest.identity,
        **{name: getattr(manifest, name) for name in ("dtype", "top_k", "columns")},
        "temperature": manifest.profile.temperature,
        "hidden states": sorted(manifest.request.hidden_states),
        "queries, keys and values": sorted(manifest.request.qkv),
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest; see `write_record`."""
    content = asdict(manifest)
    content["request"] = {"hidden_states": sorted(manifest.request.hidden_states), "qkv": sorted(manifest.request.qkv)}
    write_record(folder / MANIFEST, {"format": FORMAT, **content, "error": manifest.error})


def read_manifest(folder: str | Path) -> Manifest | None:
    """Return the manifest of a cache, None where a folder has none.

    Raises:
        DamagedManifestError: it was altered, or another version wrote it.
    """
    path = Path(folder) / MANIFEST
    try:
        content = read_record(path)
        if content is None:
            return None
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        lists = {name: tuple(value) for name, value in content["profile"].items() if isinstance(value, list)}
        request = {name: frozenset(layers) for name, layers in content["request"].items()}
        return Manifest(
            identity=content["identity"],
            profile=SignalProfile(**{**content["profile"], **lists}),
            request=SignalRequest(**request),
            columns=tuple(content["columns"]),
            shards=tuple(Shard(**shard) for shard in content["shards"]),
            **{name: content[name] for name in ("dtype", "top_k", "rows", "rows_per_shard")},
        )
    except (ValueError, KeyError, TypeError) as error:  # ValueError: neither JSON nor UTF-8
        raise DamagedManifestError(
            f"{path} is damaged, or not the manifest of a cache of this version of distilnlp (format {FORMAT}): "
            f"{error}. Delete the folder and write the cache again."
        ) from error
