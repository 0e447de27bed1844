"""Files: written whole or not at all, known by their checksums; what the libraries say of a full disk is understood."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from distilnlp.files import altered, checksums, failed_write, read_record, remove, write_record, write_text
from tests.test_cache import flip_a_byte

CONTENT = {"digest": "0123", "done": True, "seconds": 1.5, "inputs": {"names": ["film", "größe"], "rows": 24}}


def test_a_record_with_any_byte_flipped_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, CONTENT)
    assert read_record(path) == CONTENT
    whole = path.read_bytes()
    for place in range(len(whole)):
        flip_a_byte(path, place)
        with pytest.raises(ValueError, match=r"."):
            read_record(path)
        path.write_bytes(whole)
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"."):
            read_record(path)
    assert read_record(tmp_path / "nowhere.json") is None


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a", "old")

    def full(self: Path, *args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_what_was_altered_is_named_and_what_was_added_is_not(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("kept", "flipped", "cut", "inner/gone"):
        (tmp_path / name).write_text(f"content of {name}")
    recorded = checksums(tmp_path)
    flip_a_byte(tmp_path / "flipped")
    (tmp_path / "cut").write_text("content")
    (tmp_path / "inner" / "gone").unlink()
    (tmp_path / "README.md").write_text("mine")
    assert altered(tmp_path, recorded) == [
        f"{tmp_path}/cut is damaged",
        f"{tmp_path}/flipped is damaged",
        f"{tmp_path}/inner/gone is missing",
    ]
    assert altered(tmp_path / "kept", checksums(tmp_path / "kept")) == []


def test_a_link_is_removed_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


# ---- Disks ----


def errors_of_a_full_disk() -> list[Exception]:
    def write(path: str) -> None:
        with open(path, "w") as file:
            file.write("x")

    attempts = (lambda: write("/dev/full"), lambda: torch.save(torch.zeros(100_000), "/dev/full"))
    found: list[Exception] = []
    for attempt in attempts:
        with pytest.raises((OSError, RuntimeError)) as caught:
            attempt()
        found.append(caught.value)
    return found


SAYINGS = [
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.EIO, "Input/output error"),
    # as safetensors, tokenizers, torch and datasets (pyarrow) put it; the tests cannot fill a disk for them
    Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    Exception('I/O error: Read-only file system (os error 30) at path "/out/.tmpQyKPrg"'),
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    RuntimeError("[enforce fail at inline_container.cc:747] . open file failed with strerror: Read-only file system"),
    RuntimeError("[Errno 28] Error writing bytes to file"),
]
OTHERS = [
    OSError(errno.EACCES, "Permission denied"),
    FileNotFoundError(errno.ENOENT, "No such file"),
    RuntimeError("PytorchStreamReader failed reading zip archive: failed finding central directory"),
    RuntimeError("[enforce fail at inline_container.cc:100] . failed finding central directory"),
    Exception("No such file or directory (os error 2)"),
    ValueError("28"),
]


def test_a_full_disk_is_known_in_whatever_words() -> None:
    for error in [*SAYINGS, *errors_of_a_full_disk()]:
        assert failed_write(error) is error
    assert [error for error in OTHERS if failed_write(error)] == []


def test_a_full_disk_behind_another_error_is_found(tmp_path: Path) -> None:
    behind = ValueError("cannot save")
    behind.__cause__ = SAYINGS[2]
    assert failed_write(behind) is SAYINGS[2]
    with pytest.raises(Exception, match="No such file") as absent:
        save_file({"a": torch.zeros(1)}, tmp_path / "nowhere" / "a.safetensors")
    assert failed_write(absent.value) is None
