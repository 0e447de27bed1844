"""What is known of the shards of a cache while it is written: a small file beside each."""

from dataclasses import asdict
from pathlib import Path

from distilnlp.answers.manifest import Manifest, Shard
from distilnlp.files import PARTIAL, UNFINISHED, altered, checksums, read_record, write_record

STEM = "shard-"


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of a shard."""
    return folder / f"{STEM}{number:05d}.safetensors"


def record_shard(path: Path, rows: int, error: dict[str, float]) -> None:
    """Write down that a shard is finished."""
    shard = Shard(path.name, rows, checksums(path)["."], error)
    write_record(path.with_suffix(".json"), asdict(shard))


def known_shards(folder: Path, manifest: Manifest | None) -> dict[int, Shard]:
    """Return what was written down of the finished shards, by number."""
    shards = {_number(folder / shard.file): shard for shard in (manifest.shards if manifest else ())}
    for path in folder.glob(f"{STEM}*.json"):
        try:
            shards[_number(path)] = Shard(**(read_record(path) or {}))
        except (ValueError, TypeError):  # damaged: the shard is answered again
            continue
    return shards


def intact_shards(folder: Path, manifest: Manifest | None) -> dict[int, Shard]:
    """Return the finished shards whose bytes are those that were written, by number; it reads all of them."""
    return {number: shard for number, shard in known_shards(folder, manifest).items() if is_intact(folder, shard)}


def is_intact(folder: Path, shard: Shard) -> bool:
    """Whether a shard is there with the bytes that were written."""
    return not altered(folder, {shard.file: shard.checksum})


def clear_records(folder: Path) -> None:
    """Delete the small files, and what a kill cut off."""
    for path in (*folder.glob(f"{STEM}*.json"), *folder.glob(f"*{PARTIAL}"), *folder.glob(f"{UNFINISHED}*")):
        path.unlink()


def clear_shards(folder: Path) -> None:
    """Delete every shard."""
    for path in folder.glob(f"{STEM}*"):
        path.unlink()


def _number(path: Path) -> int:
    return int(path.stem[len(STEM) :])
