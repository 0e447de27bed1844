"""What stands at the end of a command: the verdict, the table, where everything lies, what to do next."""

import json
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distilnlp.evaluation import terminal_table
from distilnlp.screen import current
from distilnlp.serving import FP32

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
    lines = [f"{what:<9} {output}/{name}" for what, name in paths.items()]
    print("", *lines, *_exported(output), *_pushed(output), "", "next", sep="\n")
    print(*(f"  {command}" for command in next_commands(output)), sep="\n")


def _exported(output: str) -> list[str]:
    """Return what a user reads of the graphs of a run."""
    from distilnlp.runs.exporting import RECORD, Export

    records = sorted((Path(output) / "student").glob(f"*/{RECORD}"))
    made = filter(None, (Export.read(record.parent) for record in records))
    return [line for one in made for line in export_lines(one, f"{output}/student")]


def _pushed(output: str) -> list[str]:
    file = Path(output) / "pushed.json"
    return [f"pushed    {json.loads(file.read_text(encoding='utf-8'))['url']}"] if file.is_file() else []


def export_lines(made: Any, folder: str) -> list[str]:
    """Return what a user reads of an export to a runtime, a line a graph.

    Args:
        made: what `distilnlp.runs.exporting.Export` holds.
        folder: of the student.
    """
    lines = [f"{folder}/{path} ({size / 1e6:.1f} MB)" for path, size in made.graphs.items()]
    if made.refused is not None:
        return [f"{made.runtime:<9} not exported: {made.refused}"]
    lines[0] += ", fp32: the logits of torch"
    if made.int8 is not None and made.int8.is_accepted:
        left = f"; in fp32: {', '.join(made.int8.kept)}" if made.int8.kept else ""
        lines[1] += f", int8: {made.int8.agreement:.1%} of {made.rows} answers as fp32{left}"
    elif made.int8 is not None:
        lines.append(f"int8 was refused: it gives {made.int8.agreement:.1%} of {made.rows} answers as fp32 does")
    if made.with_tokenizer is not None:
        lines.append(f"{made.with_tokenizer:.1%} of {made.rows} texts are read alike with the tokenizer in the graph")
    return [f"{made.runtime if number == 0 else '':<9} {line}" for number, line in enumerate(lines)]


def next_commands(output: str) -> list[str]:
    """Return what a user is likely to do after a run: measure on other text, try a smaller student, hand it over."""
    folder = shlex.quote(output)
    student = Path(output) / "student"
    config = json.loads((student / "config.json").read_text(encoding="utf-8"))
    layers = config.get("num_hidden_layers") or config.get("n_layers") or 1
    smaller = f"--num-layers {layers // 2}" if layers > 1 else "--student.trim_vocabulary"
    return [
        f"distilnlp evaluate {folder}/student --data MORE.csv",
        f"distilnlp distill {folder}/recipe.yaml {smaller} --output {folder}-smaller",
        f"distilnlp predict {folder}/student --data TEXTS.csv --output ANSWERS.csv"
        if (student / FP32).is_file()
        else f"distilnlp export {folder}/student --data MORE.csv",
        f"distilnlp push {folder} USER/NAME",
    ]


def show_reports(reports: Mapping[str, Any], verdict: Sequence[str]) -> None:
    """Show what was measured, the verdict first."""
    lines = [textwrap.fill(said, WIDTH, initial_indent="- ", subsequent_indent="  ") for said in verdict]
    print("\n".join(["", *lines, "", terminal_table(reports, WIDTH)] if lines else [terminal_table(reports, WIDTH)]))
