"""`distilnlp benchmark`: what serving models costs."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distilnlp.cli.begin import begin
from distilnlp.cli.flags import RecipeFlags
from distilnlp.cli.predict import SECTIONS, SHORT
from distilnlp.cli.recipe import trusted_names
from distilnlp.errors import DistillationError, shown
from distilnlp.files import check_can_be_written, expanded, write_json
from distilnlp.recipe.text import recipe_values

HELP = "time models in every runtime they have: latency, throughput, memory, cost"
SECONDS_OF_HOUR = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.usage = "distilnlp benchmark MODEL [MODEL ...] --data FILE [--threads 1] [--price 0.05]"
    parser.epilog = "The first model in torch fp32 is what all are compared with: name the teacher first."
    parser.add_argument("models", nargs="+", metavar="MODEL", help="folder of a model: the teacher, students")
    parser.add_argument("--threads", default="1", metavar="N", help="of each model; default: 1")
    parser.add_argument("--batch-sizes", default="8,32", metavar="N,N", help="of the throughput; default: 8,32")
    parser.add_argument(
        "--lengths", default="", metavar="N,N", help="cut texts after so many tokens; default: where each model does"
    )
    parser.add_argument(
        "--seconds", default="5", metavar="S", help="for each model, runtime and batch size; default: 5"
    )
    parser.add_argument("--price", metavar="P", help="of an hour of such a machine, to tell what a million texts cost")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the figures to this file, as JSON")
    parser.set_defaults(flags=RecipeFlags(parser, SECTIONS, SHORT))


def run(args: argparse.Namespace) -> None:
    """Measure, and show the figures."""
    values = recipe_values(None, args.overrides)
    if "source" not in values.get("data", {}):
        raise DistillationError("--data is missing: name a file of texts.")
    lengths, sizes = _numbers("--lengths", args.lengths, int), _numbers("--batch-sizes", args.batch_sizes, int)
    (threads,), (seconds,) = _numbers("--threads", args.threads, int), _numbers("--seconds", args.seconds, float)
    price = _numbers("--price", args.price or "", float)
    if args.output is not None:
        check_can_be_written("--output", args.output)
    begin(f"benchmark {', '.join(args.models)}", args.mode)
    from distilnlp.data import DataConfig
    from distilnlp.runs import BenchmarkPlan, benchmark_saved
    from distilnlp.screen import current
    from distilnlp.validation import parse_section

    data = parse_section(DataConfig, values["data"], "data")
    plan = BenchmarkPlan(lengths or (None,), sizes, threads, seconds)
    models = [expanded(name) for name in args.models]
    found = benchmark_saved(models, data, plan, values.get("task"), trusted_names(values))
    current().event("results", **found)
    if args.output is not None:
        write_json(args.output, found)
    if args.mode != "json":
        print("\n\n".join(_tables(found, price[0] if price else None)))


def _numbers(flag: str, text: str, kind: Callable[[str], Any]) -> list[Any]:
    try:
        numbers = [kind(part) for part in text.split(",")] if text else []
    except ValueError:
        numbers = [0]
    if any(not number > 0 for number in numbers) or (text and flag in ("--threads", "--seconds") and len(numbers) != 1):
        raise DistillationError(f"{flag} must be positive numbers, but it is {shown(text)}. Give some, as {flag} 1.")
    return numbers


# ---- Tables ----


def _tables(found: Mapping[str, Any], price: float | None) -> list[str]:
    models, plan, where = found["models"], found["plan"], found["environment"]
    names = [f"{one['model']}, {one['runtime']} {one['precision']}" for one in models]
    threads = f"{plan['threads']} thread{'' if plan['threads'] == 1 else 's'}"
    latency = [
        [*map(_milliseconds, one["latency_ms"]), _milliseconds(one["latency_ms_from_text"][0]), _ratio(one["speed_up"])]
        for one in models
    ]
    title = f"one text, {threads}, ms"
    tables = [_table(title, ["p50", "p95", "p99", "p50 from text", "as fast"], names, latency)]
    for place, first in enumerate(models[0]["throughput"]):
        own = [one["throughput"][place] for one in models]
        cut = "" if first["length"] is None else f", {first['length']} tokens"
        rows = [
            [f"{one['per_second']:,.0f}", f"{one['per_second_from_text']:,.0f}", _ratio(one["speed_up_from_text"])]
            for one in own
        ]
        title = f"texts a second, batches of {first['batch_size']}{cut}"
        tables.append(_table(title, ["from tokens", "from text", "as fast"], names, rows))
    costs = [_cost(one, price) for one in models]
    columns = ["CPU s", "hours", *(["price"] if price is not None else []), "memory MB", "start s", "size MB"]
    tables.append(_table("a million texts; a process", columns, names, costs))
    packages = ", ".join(f"{name} {where[name]}" for name in ("torch", "transformers", "python"))
    measured = f"{found['texts']} texts, {where['device']}, {packages}\nin brackets: 95% intervals over turns"
    return [*tables, measured]


def _cost(one: Mapping[str, Any], price: float | None) -> list[str]:
    cheapest = min(one["throughput"], key=lambda each: each["seconds"])
    hours = cheapest["seconds"] / SECONDS_OF_HOUR
    money = [] if price is None else [f"{hours * price:.3g}"]
    memory = "–" if one["peak_bytes"] is None else f"{one['peak_bytes'] / 1e6:,.0f}"
    start = "–" if one["cold_start_seconds"] is None else f"{one['cold_start_seconds']:.1f}"
    return [f"{cheapest['cpu_seconds']:,.0f}", f"{hours:.2g}", *money, memory, start, f"{one['bytes'] / 1e6:,.0f}"]


def _milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _ratio(values: Sequence[float]) -> str:
    middle, low, high = values
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def _table(title: str, columns: Sequence[str], names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    first = max(map(len, [title, *names]))
    lines = [(title, columns), *zip(names, rows, strict=True)]
    return "\n".join(
        f"{name:<{first}}{''.join(f'  {cell:>{width}}' for cell, width in zip(cells, widths, strict=True))}"
        for name, cells in lines
    )
