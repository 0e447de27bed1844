"""How the results of a run came about: the command, the seed, all hyperparameters, how long each step took, hashes."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distilnlp.errors import redacted
from distilnlp.runs.graph import Step
from distilnlp.runs.plan import Plan

WEIGHTS = ".safetensors"


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


def command() -> str:
    """Return the command line of this process, without tokens and passwords."""
    program, *words = sys.argv
    name = "python -m distilnlp" if Path(program).name == "__main__.py" else Path(program).name
    return redacted(f"{name} {shlex.join(words)}".strip())
