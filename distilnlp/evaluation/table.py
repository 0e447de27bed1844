"""The results of `evaluate_models` as one table, for a terminal and for a model card alike."""

from collections.abc import Callable, Mapping, Sequence

from distilnlp.evaluation.quality import figure_named, title_of
from distilnlp.evaluation.report import ModelReport
from distilnlp.metrics.figure import UNDEFINED, amount

ABSENT = "–"
NOT_MEASURED = "unmeasured"
LATENCY = "latency, 1 text"
SPEED_UP = "  speed-up"

Cells = tuple[str, list[str]]  # what was measured, and the figure of each model


def summary_table(results: Mapping[str, ModelReport]) -> str:
    """Return an aligned Markdown table with a row per measure and a column per model; empty rows are left out.

    The first metric comes with its 95% interval; higher is better unless the row says lower. A speed-up compares with
    the first model. "n/a" is what is undefined, "–" what was not measured.

    Args:
        results: what `evaluate_models` returned, at least one model.
    """
    names = [name.replace("|", "\\|") for name in results]  # a bare | would end the cell
    return _markdown(("", names), _rows(list(results.values())))


def terminal_table(results: Mapping[str, ModelReport], width: int = 80) -> str:
    """Return the same table without marks of Markdown, at most `width` columns wide: long names of models are cut."""
    rows = _rows(list(results.values()))
    titles = max(len(title) for title, _ in rows)
    most = max((width - titles) // len(results) - 2, 1)
    lines = [("", [_cut(name, most) for name in results]), *rows]
    column = max(len(cell) for _, own in lines for cell in own)
    return "\n".join(f"{title:<{titles}}{''.join(f'  {cell:>{column}}' for cell in own)}" for title, own in lines)


def terminal_rows(results: Mapping[str, ModelReport]) -> list[Cells]:
    """Return the rows of the same table: the title of each measure, and the figure of each model."""
    return _rows(list(results.values()))


def _cut(name: str, most: int) -> str:
    """Return the end of a long name, which tells models apart."""
    return name if len(name) <= most else f"…{name[len(name) - most + 1 :]}"


def _rows(reports: Sequence[ModelReport]) -> list[Cells]:
    sizes = [
        ("parameters (M)", [amount(report["parameters"]["total"] / 1e6) for report in reports]),
        ("size (MB)", [amount(report["bytes"] / 1e6) for report in reports]),
    ]
    rows = [*_quality_rows(reports), *_reading_rows(reports), *sizes, *_speed_rows(reports)]
    return [row for row in rows if set(row[1]) != {ABSENT}]


def _quality_rows(reports: Sequence[ModelReport]) -> list[Cells]:
    first, *others = reports[0]["metrics"]
    by = reports[0]["labelled_by"]
    titles = {"value": title_of(first, by), "low": "  95% interval, from", "high": "  95% interval, to"}
    rows = [] if by is None else [("quality", [NOT_MEASURED for _ in reports])]
    rows += [(title, [_figure(report["metrics"][first][of]) for report in reports]) for of, title in titles.items()]
    rows += [(title_of(name, by), [_figure(report["metrics"][name]["value"]) for report in reports]) for name in others]
    fidelities = [report["fidelity"] or {} for report in reports]
    for name in dict.fromkeys(name for own in fidelities for name in own):
        cells = [_figure(own[name]) if name in own else ABSENT for own in fidelities]
        rows.append((figure_named(name).title, cells))
    errors = [report["calibration_error"] for report in reports]
    return [*rows, ("calibration error", [ABSENT if error is None else _figure(error) for error in errors])]


def _reading_rows(reports: Sequence[ModelReport]) -> list[Cells]:
    """Return how much of the texts is read, where some are cut."""
    texts = [report["text"] for report in reports]
    if not any(text and text["cut"] for text in texts):
        return []
    lengths = [str(text["max_length"]) if text else ABSENT for text in texts]
    cut = [ABSENT if text is None or text["cut"] is None else percent(text["cut"]) for text in texts]
    return [("tokens read of a text, at most", lengths), ("texts longer than that", cut)]


def _speed_rows(reports: Sequence[ModelReport]) -> list[Cells]:
    speeds = [report["speed"] for report in reports]
    first = speeds[0]
    if first is None:
        return []

    def row(title: str, figure: Callable[[Mapping[str, float]], str]) -> Cells:
        return title, [ABSENT if speed is None else figure(speed) for speed in speeds]

    return [
        row(f"{LATENCY} (ms)", lambda speed: amount(speed["latency_ms_median"])),
        row("  95th percentile (ms)", lambda speed: amount(speed["latency_ms_p95"])),
        row(SPEED_UP, lambda speed: f"{amount(first['latency_ms_median'] / speed['latency_ms_median'])}×"),
        row(f"{throughput_title(first)} (/s)", lambda speed: amount(speed["throughput_per_second"])),
        row(SPEED_UP, lambda speed: f"{amount(speed['throughput_per_second'] / first['throughput_per_second'])}×"),
    ]


def throughput_title(speed: Mapping[str, float]) -> str:
    """Return what the throughput is called."""
    return f"throughput, batches of {speed['batch_size']}"


def _figure(value: float | None) -> str:
    """Write a figure with three decimals, fewer where it is large, as a perplexity can be."""
    if value is None:
        return UNDEFINED
    return f"{value:.3f}" if abs(value) < 10 else amount(value)


def percent(share: float) -> str:
    """Write a share; one that is not quite nothing, or not quite all, does not read as if it were."""
    written = f"{share:.1%}"
    if written == "0.0%" and share > 0:
        return "<0.1%"
    return ">99.9%" if written == "100.0%" and share < 1 else written


def _markdown(header: Cells, rows: Sequence[Cells]) -> str:
    """Lay the table out with the measures on the left and the figures on the right."""
    lines = [[title, *cells] for title, cells in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    padded = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)
