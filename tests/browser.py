"""A page in headless Chromium: what it shows, and what its console says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
]


def opened(page: Path, profile: Path, *options: str) -> tuple[str, list[str]]:
    """Return the document as the browser has it once the page is shown, and the lines of its console.

    A page whose policy forbids every request, as a report's does, has a line for each that was tried.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    command = [browser, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)
