"""The repository as git has it: a copy, which nothing that lies about in the working tree can change."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tracked_files(under: str = ".") -> list[str]:
    """The names of the files that git knows."""
    names = subprocess.run(["git", "ls-files", "-z", under], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in names.stdout.split("\0") if name]


def copy_repository(target: Path) -> Path:
    """Copy these files, as they are in the working tree."""
    for name in tracked_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((ROOT / name).read_bytes())
    return target
