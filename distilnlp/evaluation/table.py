"""The results of `evaluate_models` as one table, for a terminal and for a model card alike."""

from collections.abc import Mapping, Sequence

from distilnlp.evaluation.report import ModelReport

ABSENT = "–"
TITLES = {"macro_f1": "macro-F1", "mcc": "MCC", "kl": "KL (nats)"}

Columns = dict[str, list[str]]


def summary_table(results: Mapping[str, ModelReport]) -> str:
    """Return an aligned Markdown table with a row per model; columns that no model fills are left out.

    The first metric comes with its 95% interval. Latency is that of a single text, throughput that of full batches;
    the speed-up is the first model's median latency over the model's own.

    Args:
        results: what `evaluate_models` returned, at least one model.
    """
    reports = list(results.values())
    names = [name.replace("|", "\\|") for name in results]  # a bare | would end the cell
    columns = {"model": names, **_quality_columns(reports), **_size_columns(reports), **_speed_columns(reports)}
    return _markdown({title: cells for title, cells in columns.items() if set(cells) != {ABSENT}})


def _quality_columns(reports: Sequence[ModelReport]) -> Columns:
    first, *others = reports[0]["metrics"]
    columns = {f"{TITLES.get(first, first)} [95% CI]": [_with_interval(report["metrics"][first]) for report in reports]}
    for metric in others:
        columns[TITLES.get(metric, metric)] = [_figure(report["metrics"][metric]["value"]) for report in reports]
    fidelities = [report["fidelity"] or {} for report in reports]
    for measure in dict.fromkeys(measure for fidelity in fidelities for measure in fidelity):
        columns[TITLES.get(measure, measure)] = [_figure(fidelity.get(measure)) for fidelity in fidelities]
    columns["calibration error"] = [_figure(report["calibration_error"]) for report in reports]
    return columns


def _size_columns(reports: Sequence[ModelReport]) -> Columns:
    return {
        "parameters (M)": [_amount(report["parameters"]["total"] / 1e6) for report in reports],
        "size (MB)": [_amount(report["bytes"] / 1e6) for report in reports],
    }


def _speed_columns(reports: Sequence[ModelReport]) -> Columns:
    columns: Columns = {"latency median / p95 (ms)": [], "throughput (texts/s)": [], "speed-up": []}
    reference = reports[0]["speed"]
    for speed in (report["speed"] for report in reports):
        cells = [ABSENT] * 3
        if speed and reference:
            median = speed["latency_ms_median"]
            cells = [
                f"{_amount(median)} / {_amount(speed['latency_ms_p95'])}",
                _amount(speed["throughput_per_second"]),
                f"{_amount(reference['latency_ms_median'] / median)}×",
            ]
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
    return columns


def _with_interval(metric: Mapping[str, float]) -> str:
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def _figure(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _amount(value: float) -> str:
    """Write an amount with three figures, and never with fewer than its whole part."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"


def _markdown(columns: Columns) -> str:
    """Lay the columns out with the names on the left and the figures on the right."""
    widths = [max(map(len, (title, *cells))) for title, cells in columns.items()]
    rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [list(columns), rules, *map(list, zip(*columns.values(), strict=True))]
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures = cells
    padded = [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=True))]
    return f"| {' | '.join(padded)} |"


def verdict(results: Mapping[str, ModelReport]) -> str:
    """Say in one line what the student kept of its teacher and what it saves; empty without both."""
    if "teacher" not in results or "student" not in results:
        return ""
    teacher, student = results["teacher"], results["student"]
    metric = next(iter(student["metrics"]))
    kept, whole = student["metrics"][metric]["value"], teacher["metrics"][metric]["value"]
    said = f"The student's {metric} is {100 * kept:.1f}%, the teacher's {100 * whole:.1f}%; "
    if teacher["speed"] and student["speed"]:
        ratio = student["speed"]["throughput_per_second"] / teacher["speed"]["throughput_per_second"]
        said += f"it reads {ratio:.1f} times as many texts a second and "
    return said + f"is {teacher['bytes'] / student['bytes']:.1f} times smaller on disk."
