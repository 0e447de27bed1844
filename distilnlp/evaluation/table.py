"""The results of `evaluate_models` as one table, for a terminal and for a model card alike."""

from collections.abc import Mapping, Sequence

from distilnlp.evaluation.report import ModelReport

ABSENT = "–"
TITLES = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "map": "mAP",
    "mcc": "MCC",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "entity_f1": "entity F1",
    "entity_precision": "entity precision",
    "entity_recall": "entity recall",
    "f1": "F1",
    "exact_match": "exact match",
    "kl": "KL (nats)",
    "correlation": "correlation with reference",
    "absolute_difference": "difference from reference",
}
NO_SHARES = frozenset({"mcc", "pearson", "spearman", "perplexity"})  # every other metric is a share, from 0 to 1
LOWER_IS_BETTER = frozenset({"perplexity"})

Columns = dict[str, list[str]]


def summary_table(results: Mapping[str, ModelReport]) -> str:
    """Return an aligned Markdown table with a row per model; columns that no model fills are left out.

    The first metric comes with its 95% interval; higher is better unless the column says lower. Latency is that of a
    single text, throughput that of full batches; the speed-up is the first model's median latency over the model's own.

    Args:
        results: what `evaluate_models` returned, at least one model.
    """
    reports = list(results.values())
    names = [name.replace("|", "\\|") for name in results]  # a bare | would end the cell
    columns = {"model": names, **_quality_columns(reports), **_size_columns(reports), **_speed_columns(reports)}
    return _markdown({title: cells for title, cells in columns.items() if set(cells) != {ABSENT}})


def _quality_columns(reports: Sequence[ModelReport]) -> Columns:
    first, *others = reports[0]["metrics"]
    columns = {f"{_title(first)} [95% CI]": [_with_interval(report["metrics"][first]) for report in reports]}
    for metric in others:
        columns[_title(metric)] = [_figure(report["metrics"][metric]["value"]) for report in reports]
    fidelities = [report["fidelity"] or {} for report in reports]
    for measure in dict.fromkeys(measure for fidelity in fidelities for measure in fidelity):
        columns[_title(measure)] = [_figure(fidelity.get(measure)) for fidelity in fidelities]
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


def _title(measure: str) -> str:
    return TITLES.get(measure, measure) + (" (lower is better)" if measure in LOWER_IS_BETTER else "")


def _with_interval(metric: Mapping[str, float]) -> str:
    return f"{_figure(metric['value'])} [{_figure(metric['low'])}, {_figure(metric['high'])}]"


def _figure(value: float | None) -> str:
    """Write a figure with three decimals, fewer where it is large, as a perplexity can be."""
    if value is None:
        return ABSENT
    return f"{value:.3f}" if abs(value) < 10 else _amount(value)


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
    kept, whole = (_said(metric, report["metrics"][metric]["value"]) for report in (student, teacher))
    said = f"The student's {_title(metric)} is {kept}, the teacher's {whole}; it "
    if teacher["speed"] and student["speed"]:
        ratio = student["speed"]["throughput_per_second"] / teacher["speed"]["throughput_per_second"]
        said += f"reads {ratio:.1f} times as many texts a second and "
    return said + f"is {teacher['bytes'] / student['bytes']:.1f} times smaller on disk."


def _said(metric: str, value: float) -> str:
    return _amount(value) if metric in NO_SHARES else f"{100 * value:.1f}%"
