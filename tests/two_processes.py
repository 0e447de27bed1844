"""One launch of two processes on the CPU, for the tests that compare them with one."""

import multiprocessing
import os
import runpy
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

PROCESSES = 2
# The processes are forked from one that has imported everything and done nothing: imports take longer than the rest.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["distilnlp", "tests.conftest"])


def in_two_processes(module: str, out: Path, timeout: float) -> dict[str, Any]:
    """Run a module in two processes that know of each other as under a launcher.

    Args:
        module: run as a script; it writes its results to the file that it is given.
        out: that file.
        timeout: in seconds, against a hang.
    """
    # The store takes a free port and keeps it, as that of `accelerate launch` does: no other process can come between.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=timeout))
    logs = [out.with_suffix(f".{rank}.log") for rank in range(PROCESSES)]
    processes = [
        CONTEXT.Process(target=_run, args=(module, out, rank, store.port, log), daemon=True)
        for rank, log in enumerate(logs)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(timeout)
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES, "\n".join(log.read_text() for log in logs)
    return torch.load(out)


def _run(module: str, out: Path, rank: int, port: int, log: Path) -> None:
    """What one of the processes does: the environment is that of torchrun."""
    with log.open("w") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    os.environ |= {
        "ACCELERATE_USE_CPU": "true",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(PROCESSES),
        "LOCAL_WORLD_SIZE": str(PROCESSES),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    sys.argv = [module, str(out)]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
