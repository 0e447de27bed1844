"""What stands at the end of a command: the verdict, the table, where everything lies, what to do next."""

import shlex
import textwrap
from collections.abc import Mapping, Sequence
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
    folder = shlex.quote(output)
    show_reports(results["models"], results["verdict"])
    print(f"\nstudent   {output}/student\nfigures   {output}/results.json\n\nnext")
    print(f"  distilnlp evaluate {folder}/student --data MORE.csv")
    print("  distilnlp distill ... --num-layers N --output OTHER")
    print(f"  hf upload USER/NAME {folder}/student")


def show_reports(reports: Mapping[str, Any], verdict: Sequence[str]) -> None:
    """Show what was measured, the verdict first."""
    lines = [textwrap.fill(said, WIDTH, initial_indent="- ", subsequent_indent="  ") for said in verdict]
    print("\n".join(["", *lines, "", terminal_table(reports, WIDTH)] if lines else [terminal_table(reports, WIDTH)]))
