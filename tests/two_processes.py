"""One launch of two processes on the CPU, for the tests that compare them with one."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def in_two_processes(module: str, out: Path, timeout: float) -> dict[str, Any]:
    """Launch a module that writes its results to the file `out`, and return them; the timeout is against a hang."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    script = ["--main_process_port", str(free_port()), "-m", module, str(out)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    log = out.with_suffix(".log")
    with log.open("w") as stream:
        launcher = subprocess.Popen([*launch, *script], cwd=ROOT, env=environment, stdout=stream, stderr=stream)
        try:
            launcher.wait(timeout)
        finally:
            launcher.terminate()  # it takes its processes with it
            launcher.wait()
    assert launcher.returncode == 0, log.read_text()
    return torch.load(out)
