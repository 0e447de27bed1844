"""How the results of a run came about: the command, the seed, all hyperparameters, how long each step took, hashes."""

import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from distilnlp.errors import redacted
from distilnlp.runs.graph import Step
from distilnlp.runs.plan import Plan

WEIGHTS = ".safetensors"
_call: ContextVar[str | None] = ContextVar("call", default=None)


def provenance(plan: Plan, made: Iterable[Step]) -> dict[str, Any]:
    """Return what goes into `results.json` of how they came about.

    Args:
        plan: of the run.
        made: the steps before the evaluation; those that are not of this run, or not finished, are left out.
    """
    found = {step: step.stage.record for step in made}
    records = {step: own for step, own in found.items() if own.get("done") and own["digest"] == step.digest}
    return {
        "seed": plan.recipe.seed,
        "command": command(),
        "hyperparameters": plan.trainings,
        "seconds": {step.title: record["seconds"] for step, record in records.items()},
        "checksums": {
            f"{step.output}/{name}": checksum
            for step, record in records.items()
            for name, checksum in record["files"].items()
            if name.endswith(WEIGHTS) and not step.output.startswith("work")
        },
    }


@contextmanager
def called(function: str, *args: object, **keys: object) -> Iterator[None]:
    """Let the results say that a function was called, in the block, and not the command line of this process."""
    words = [*map(repr, args), *(f"{key}={value!r}" for key, value in keys.items())]
    token = _call.set(redacted(f"{function}({', '.join(words)})"))
    try:
        yield
    finally:
        _call.reset(token)


def command() -> str:
    """Return what made the run: the command line of this process, or the call, without tokens and passwords."""
    if (call := _call.get()) is not None:
        return call
    program, *words = sys.argv
    name = "python -m distilnlp" if Path(program).name == "__main__.py" else Path(program).name
    return redacted(f"{name} {shlex.join(words)}".strip())
