"""The sections that every report has, whatever the task."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from distilnlp.evaluation import figure_named, terminal_rows
from distilnlp.evaluation.table import ABSENT
from distilnlp.metrics.figure import UNDEFINED
from distilnlp.report.comparison import Comparison
from distilnlp.report.evidence import STUDENT, TEACHER, Evidence
from distilnlp.report.parts import TaskPart
from distilnlp.report.plots import intervals, lines, points
from distilnlp.report.section import Plot, Section, Table
from distilnlp.screen import as_time
from distilnlp.training.history import BESIDE_FIGURES

MOST_TEXTS = 12  # on which student and teacher disagree
GROUPS = 4  # of texts by their length


def common_sections(evidence: Evidence, part: TaskPart) -> Iterator[Section]:
    """Yield the sections in their order, the task's own among them."""
    yield _figures(evidence)
    if evidence.models[STUDENT]["speed"] is not None:
        yield _cost(evidence)
    yield from part.sections()
    yield _by_length(evidence, part)
    if part.has_teacher:
        yield _disagreements(evidence, part)
    yield from _trainings(evidence)
    yield _data(evidence)
    yield _provenance(evidence)


def _figures(evidence: Evidence) -> Section:
    models, metric = evidence.models, evidence.metric
    figures = {name: own["metrics"][metric] for name, own in models.items()}
    title = evidence.metric_title
    rows = [[measure, *cells] for measure, cells in terminal_rows(models)]
    plots = [Plot(intervals(figures, title, f"{evidence.name}-figures"), f"{title} of each model, with its interval")]
    return Section("How good", evidence.results["verdict"], plots, [Table(["", *models], rows)])


def _cost(evidence: Evidence) -> Section:
    models, metric = evidence.models, evidence.metric
    title, name = evidence.metric_title, evidence.name
    quality = {model: own["metrics"][metric]["value"] for model, own in models.items()}
    known = {model: own for model, own in models.items() if own["speed"] and quality[model] is not None}
    latency = {model: (own["speed"]["latency_ms_median"], quality[model]) for model, own in known.items()}
    size = {model: (own["bytes"] / 1e6, quality[model]) for model, own in known.items()}
    plots = [
        Plot(points(latency, "milliseconds of a text (median)", title, f"{name}-latency"), f"{title} and latency"),
        Plot(points(size, "megabytes", title, f"{name}-size"), f"{title} and size"),
    ]
    return Section("What it costs", ["Up and to the left is better."], plots)


def _by_length(evidence: Evidence, part: TaskPart) -> Section:
    """The mean score of texts from the shortest to the longest, in groups of as many."""
    lengths = np.array([_words_of(row) for row in evidence.rows])
    scores = {name: part.row_scores(name) for name in part.by_model}
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, GROUPS + 1)))
    group = np.clip(np.searchsorted(edges, lengths, side="left") - 1, 0, max(len(edges) - 2, 0))
    rows, middles = [], []
    series: dict[str, list[float]] = {name: [] for name in scores}
    for number in np.unique(group):
        own = group == number
        least, most = int(lengths[own].min()), int(lengths[own].max())
        values = {name: _mean(each[own]) for name, each in scores.items()}
        middles.append(float(np.median(lengths[own])))
        for name, value in values.items():
            series[name].append(value)
        rows.append([f"{least}–{most} words", f"{own.sum():,}", *(f"{value:.3f}" for value in values.values())])
    curves = {name: (middles, own) for name, own in series.items()}
    svg = lines(curves, "words of the text", part.score_title, f"{evidence.name}-lengths")
    table = Table(["length", "texts", *scores], rows)
    return Section("By length of the text", [], [Plot(svg, f"{part.score_title}, by length")], [table])


def _mean(values: NDArray) -> float:
    """Return the mean of what is known; NaN if nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _words_of(row: Mapping[str, Any]) -> int:
    texts = [text for value in row.values() for text in ([value] if isinstance(value, str) else value)]
    return sum(len(text.split()) for text in texts)


def _disagreements(evidence: Evidence, part: TaskPart) -> Section:
    differences = part.differences()
    apart = np.flatnonzero(differences > 0)
    order = apart[np.argsort(-differences[apart], kind="stable")][:MOST_TEXTS]
    is_labelled = evidence.predictions.labelled_by is None
    labels = {row: part.label(row) if is_labelled else ABSENT for row in order}
    rows = [[part.text(row), labels[row], part.answer(TEACHER, row), part.answer(STUDENT, row)] for row in order]
    said = f"They differ on {len(apart):,} of {len(differences):,} texts; these are the {len(order)} furthest apart."
    table = Table(["text", "label", TEACHER, STUDENT], rows, is_text=True)
    return Section("Where student and teacher disagree most", [said], tables=[table] if len(order) else [])


def _trainings(evidence: Evidence) -> Iterator[Section]:
    for model, entries in evidence.histories.items():
        logged: dict[str, tuple[list[float], list[float]]] = {}
        for entry in entries:
            for name, value in entry.items():
                if name not in BESIDE_FIGURES and isinstance(value, int | float) and not name.startswith("train_"):
                    steps, values = logged.setdefault(name, ([], []))
                    steps.append(entry.get("step", len(steps)))
                    values.append(value)
        losses = {name.replace("_", " "): own for name, own in logged.items() if name.endswith("loss")}
        changing = {
            name.replace("_", " "): own
            for name, own in logged.items()
            if name not in losses and (name == "learning_rate" or name == "temperature" or name.endswith("_weight"))
        }
        plots = []
        if losses:
            is_log = all(value > 0 for _, values in losses.values() for value in values)
            svg = lines(losses, "step", "loss", f"{evidence.name}-{model}-losses", is_log)
            plots.append(Plot(svg, f"losses in the training of the {model}"))
        for name, own in changing.items():
            if name == "learning rate" or len(set(own[1])) > 1:
                svg = lines({name: own}, "step", name, f"{evidence.name}-{model}-{name}")
                plots.append(Plot(svg, f"{name} in the training of the {model}"))
        if plots:
            yield Section(f"Training of the {model}", [], plots)


def _data(evidence: Evidence) -> Section:
    counts = [[name, f"{count:,}"] for name, count in evidence.results["rows"].items()]
    texts = [(name, own["text"]) for name, own in evidence.models.items() if own["text"]]
    read = [
        [name, f"{text['max_length']:,}", "read in windows" if text["cut"] is None else f"{text['cut']:.1%}"]
        for name, text in texts
    ]
    tables = [Table(["rows", ""], counts), Table(["model", "tokens of a text at most", "texts that are cut"], read)]
    source = evidence.recipe.get("data", {}).get("source", "")
    return Section("Data", [f"Source: {source}."] if source else [], tables=tables)


def _provenance(evidence: Evidence) -> Section:
    results = evidence.results
    facts = {"seed": results.get("seed"), "command": results.get("command"), "processes": results.get("processes")}
    facts |= results.get("environment", {})
    rows = [[name, str(value)] for name, value in facts.items() if value is not None]
    steps = [[name, as_time(value)] for name, value in results.get("seconds", {}).items()]
    arguments = [
        [f"{training}: {name}", str(value)]
        for training, own in results.get("hyperparameters", {}).items()
        for name, value in own.items()
    ]
    hashes = [[name, value] for name, value in results.get("checksums", {}).items()]
    tables = [
        Table(["", ""], rows),
        *([Table(["step", "took"], steps)] if steps else []),
        *([Table(["arguments", ""], arguments)] if arguments else []),
        *([Table(["file", "size and checksum"], hashes)] if hashes else []),
    ]
    return Section("How it was made", [], tables=tables)


def comparison_section(runs: Mapping[str, Evidence]) -> Section:
    """Return what several runs have to show, side by side."""
    rows, latency, said, tables = [], {}, [], []
    for place, (name, run) in enumerate(runs.items()):
        own = run.models[STUDENT]
        value, speed = own["metrics"][run.metric]["value"], own["speed"]
        metric = figure_named(run.metric)
        cells = [
            run.metric_title,
            UNDEFINED if value is None else metric.value(value),
            ABSENT if speed is None else f"{speed['latency_ms_median']:.3g}",
            f"{own['bytes'] / 1e6:.1f}",
        ]
        rows.append([Markup('<a href="#run-{}">{}</a>').format(place, name), *cells])
        if speed is not None and value is not None:
            latency[name] = (speed["latency_ms_median"], value)
    tables.append(Table(["run", "metric", "student", "ms a text", "MB"], rows))
    plots = []
    if len({run.task for run in runs.values()}) == 1:
        comparison = Comparison(runs)
        said = comparison.said
        tables.append(Table(["what differs", *runs], [[key, *values] for key, values in comparison.differences]))
        if latency:
            title = next(iter(runs.values())).metric_title
            svg = points(latency, "milliseconds of a text (median)", title, "runs", dict.fromkeys(latency, STUDENT))
            plots.append(Plot(svg, f"{title} and latency of the students"))
    return Section("The runs side by side", said, plots, tables)
