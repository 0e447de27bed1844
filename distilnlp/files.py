"""Files that outlive kills, full disks and flipped bits: written whole or not at all, and known by their checksums."""

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distilnlp.errors import DistillationError, shown

PARTIAL = ".partial"  # what a file is called until it is written
UNFINISHED = ".tmp"  # how safetensors calls a file until it is written
SELF = "checksum_of_the_others"  # key of a record
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # only what is written to a disk fails with these
_FAILED_WRITES = (*FULL, errno.EFBIG, errno.EIO)
# How libraries in other languages say it: safetensors and tokenizers with the number, torch in words of its own.
_NUMBER = re.compile(r"\(os error (\d+)\)|\[[Ee]rrno (\d+)\]")
_TORCH = re.compile(r"iostream error|inline_container\.cc.*(unexpected pos|strerror|write)|PytorchStreamWriter")

Checksums = dict[str, str]


# ---- Writing ----


def write_json(path: Path, content: object) -> None:
    """Write JSON; see `write_text`."""
    write_text(path, json.dumps(content, indent=2, default=str, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a kill or a full disk leaves the old one or the new one, never half of it."""
    temporary = path.with_name(path.name + PARTIAL)
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_can_be_written(flag: str, path: Path) -> None:
    """Refuse a file that cannot be one, before the work is done whose result it is to hold.

    Raises:
        DistillationError: its folder is not there, or a folder or a device is in its place.
    """
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise DistillationError(
            f"{flag} must name a file in a folder that is there, but got {shown(str(path))}. Make the folder, or name "
            "another file."
        )


def write_record(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON with a checksum of itself, for `read_record`."""
    plain = json.loads(json.dumps(content, default=str))
    write_json(path, {**plain, SELF: content_checksum(plain)})


def read_record(path: Path) -> dict[str, Any] | None:
    """Return what `write_record` wrote, None where there is no file.

    Raises:
        ValueError: what is there was not written by it, or not to its end, or was altered.
    """
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or record.pop(SELF, None) != content_checksum(record):
        raise ValueError("its checksum is not that of its content")
    return record


def remove(path: Path) -> None:
    """Delete a file, a folder or a link, if there is one; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---- Checksums ----


def digest(parts: Iterable[bytes | memoryview]) -> bytes:
    """Return the BLAKE2b of bytes that come in parts, 16 bytes: what tells one content from another, everywhere."""
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        whole.update(part)
    return whole.digest()


def blocks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, one MB at a time."""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def checksum(path: Path) -> str:
    """Return the digest of a file as text, at about 1 GB a second."""
    return digest(blocks(path)).hex()


def content_checksum(content: object) -> str:
    """Return the digest of JSON values as text; anything else counts as its text."""
    return digest([json.dumps(content, sort_keys=True, default=str).encode()]).hex()


def checksums(root: Path) -> Checksums:
    """Return size and checksum of every file of a folder, by its path there; of a file by the name `.`."""
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): f"{path.stat().st_size}:{checksum(path)}" for path in files}


def altered(root: Path, recorded: Mapping[str, str]) -> list[str]:
    """Return the files that are missing or whose bytes are not those that were recorded, as paths with the reason."""
    found = []
    for name, entry in recorded.items():
        path, (size, _, known) = root / name, entry.partition(":")
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size != int(size) or checksum(path) != known:  # the size alone shows what was cut off
            found.append(f"{path} is damaged")
    return found


# ---- Disks ----


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def is_failed_write(error: BaseException, codes: Collection[int | None] = _FAILED_WRITES) -> bool:
    """Whether an error says that a disk is full, over its quota, read-only or broken, whichever library raised it."""
    if isinstance(error, OSError):
        return error.errno in codes
    number = _NUMBER.search(str(error))
    return int(number[1] or number[2]) in codes if number else bool(_TORCH.search(str(error)))


def failed_write(error: BaseException) -> BaseException | None:
    """Return which of an error and its causes is a write that failed for the disk."""
    return next(filter(is_failed_write, causes(error)), None)


def unique_tails(paths: Sequence[str]) -> list[str]:
    """Return the last part of each path, or as many of the last parts as tell the paths apart."""
    parts = [Path(path).parts for path in paths]
    longest = max(map(len, parts), default=0)
    tails = (["/".join(own[-count:]) for own in parts] for count in range(1, longest + 1))
    return next((names for names in tails if len(set(names)) == len(names)), list(paths))


def expanded(path: str) -> str:
    """Return a path with the home folder for `~`.

    Raises:
        ValueError: there is no such user.
    """
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:
        raise ValueError(f"there is no user with the home folder {shown(path.split('/')[0])}") from None
