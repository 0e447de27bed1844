"""What stands at the end of a command: the verdict, the table, where everything lies, what to do next."""

import json
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distilnlp.evaluation import terminal_table
from distilnlp.screen import current

WIDTH = 80


def show_results(results: Mapping[str, Any], output: str, mode: str) -> None:
    """Show the results of a run on standard output.

    Args:
        results: the content of `results.json`.
        output: folder of the run.
        mode: of the screen; as JSON they are an event.
    """
    current().event("results", output=output, **results)
    if mode == "json":
        return
    show_reports(results["models"], results["verdict"])
    paths = {"student": "student", "report": "report.html", "figures": "results.json"}
    print("", *(f"{what:<9} {output}/{name}" for what, name in paths.items()), "", "next", sep="\n")
    print(*(f"  {command}" for command in next_commands(output)), sep="\n")


def next_commands(output: str) -> list[str]:
    """Return what a user is likely to do after a run: measure on other text, try a smaller student, hand it over."""
    folder = shlex.quote(output)
    config = json.loads((Path(output) / "student" / "config.json").read_text(encoding="utf-8"))
    layers = config.get("num_hidden_layers") or config.get("n_layers") or 1
    smaller = f"--num-layers {layers // 2}" if layers > 1 else "--student.trim_vocabulary"
    return [
        f"distilnlp evaluate {folder}/student --data MORE.csv",
        f"distilnlp distill {folder}/recipe.yaml {smaller} --output {folder}-smaller",
        f"distilnlp export {folder}/student --data MORE.csv",
        f"hf upload USER/NAME {folder}/student",
    ]


def show_reports(reports: Mapping[str, Any], verdict: Sequence[str]) -> None:
    """Show what was measured, the verdict first."""
    lines = [textwrap.fill(said, WIDTH, initial_indent="- ", subsequent_indent="  ") for said in verdict]
    print("\n".join(["", *lines, "", terminal_table(reports, WIDTH)] if lines else [terminal_table(reports, WIDTH)]))
