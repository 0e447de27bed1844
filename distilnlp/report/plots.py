"""Plots as SVG that lies in the page itself, in colours that follow the page: light, dark or printed."""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

# Colours that stand for those of the page: matplotlib writes them, and each becomes a variable of its style sheet.
INK, FAINT = "#010101", "#020202"
COLOURS = {"teacher": "#030301", "student": "#030302", "baseline": "#030303", "other": "#030304"}
VARIABLES = {INK: "currentColor", FAINT: "var(--faint)"} | {
    colour: f"var(--{name})" for name, colour in COLOURS.items()
}
MARKERS = {"teacher": "s", "student": "o", "baseline": "^"}
MOST_IN_CELLS = 12  # classes of a confusion matrix whose counts are written out


def colour_of(model: str) -> str:
    """Return the colour of a model, by its role."""
    return COLOURS.get(model, COLOURS["other"])


def plot(draw: Callable[[Any], None], name: str, size: tuple[float, float] = (6.4, 3.2)) -> Markup:
    """Return what is drawn on axes as SVG.

    Args:
        draw: is called with axes of matplotlib.
        name: of the plot, different from others of the page.
        size: in inches; the page scales it.
    """
    from matplotlib.figure import Figure

    with _style(name):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 style="max-width: {100 * size[0]:.0f}px"', svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Markup(svg)  # matplotlib escapes every text in it


@contextmanager
def _style(name: str) -> Iterator[None]:
    import matplotlib

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    options: Any = {
        **dict.fromkeys(inked, INK),
        "grid.color": FAINT,
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 10,
        "legend.frameon": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "text.parse_math": False,  # a label may hold dollar signs
    }
    with matplotlib.rc_context(options), warnings.catch_warnings():
        # The browser draws the letters, with its own fonts: what matplotlib's lacks only gets too little room.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


# ---- Kinds of plots ----


def intervals(figures: Mapping[str, Mapping[str, float | None]], title: str, name: str) -> Markup:
    """Draw a figure of each model with its 95% interval, one above another."""

    def draw(axes: Any) -> None:
        for place, (model, own) in enumerate(figures.items()):
            value = own["value"]
            if value is None:
                continue
            low, high = (value if own[of] is None else own[of] for of in ("low", "high"))
            axes.plot([low, high], [place, place], color=colour_of(model), linewidth=2)
            axes.plot(value, place, MARKERS.get(model, "D"), color=colour_of(model), markersize=8)
            axes.annotate(f"{value:.3f}", (value, place), xytext=(0, 8), textcoords="offset points", ha="center")
        axes.set_yticks(range(len(figures)), list(figures))
        axes.set_ylim(len(figures) - 0.4, -0.7)
        axes.set_xlabel(f"{title}, 95% interval")
        axes.grid(axis="y", visible=False)

    return plot(draw, name, (6.4, 0.9 + 0.55 * len(figures)))


def points(
    values: Mapping[str, tuple[float, float]], x: str, y: str, name: str, roles: Mapping[str, str] | None = None
) -> Markup:
    """Draw a named point for each model at (x, y); `roles` give the colours of other names."""

    def draw(axes: Any) -> None:
        for model, (across, up) in values.items():
            role = (roles or {}).get(model, model)
            axes.plot(across, up, MARKERS.get(role, "D"), color=colour_of(role), markersize=9)
            below = role == "baseline"  # which often lies where the student does
            axes.annotate(model, (across, up), xytext=(7, -13 if below else 5), textcoords="offset points")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.margins(0.25)
        axes.set_xlim(left=0)

    return plot(draw, name, (4.6, 3.2))


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str, name: str, is_log: bool = False
) -> Markup:
    """Draw curves; those that are called like a model have its colour."""

    def draw(axes: Any) -> None:
        styles = ["-", "--", ":", "-."]
        palette = list(COLOURS.values())
        for place, (title, (across, up)) in enumerate(series.items()):
            colour = COLOURS.get(title, palette[place % len(palette)])
            axes.plot(across, up, styles[place // len(palette) % len(styles)], color=colour, marker=".", label=title)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if is_log:
            axes.set_yscale("log")
        if len(series) > 1:
            axes.legend()

    return plot(draw, name, (4.6, 3.0))


def matrix(counts: NDArray, names: Sequence[str], x: str, y: str, name: str) -> Markup:
    """Draw a confusion matrix `[classes, classes]`: rows are `y`, columns `x`, the darker the more of a row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)

    def draw(axes: Any) -> None:
        axes.grid(visible=False)
        for row, column in np.ndindex(*counts.shape):
            if not counts[row, column]:
                continue
            colour = COLOURS["teacher" if row == column else "student"]
            axes.bar(column, 1, 1, row - 0.5, color=colour, alpha=float(0.12 + 0.5 * shares[row, column]), linewidth=0)
            if len(names) <= MOST_IN_CELLS:
                axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=INK)
        axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(x)
        axes.set_ylabel(y)

    side = min(3.0 + 0.35 * len(names), 9.0)
    return plot(draw, name, (side + 0.8, side))


def reliability(bins: Mapping[str, tuple[NDArray, NDArray]], name: str) -> Markup:
    """Draw how often models are right at each confidence; on the diagonal they are as often right as they are sure."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5)
        for model, (confidences, shares) in bins.items():
            axes.plot(confidences, shares, marker=MARKERS.get(model, "D"), color=colour_of(model), label=model)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share that is right")
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.legend()

    return plot(draw, name, (4.6, 4.0))


def cloud(series: Mapping[str, tuple[NDArray, NDArray]], x: str, y: str, name: str) -> Markup:
    """Draw predicted over true values; on the diagonal they are the same."""

    def draw(axes: Any) -> None:
        values = np.concatenate([np.concatenate(pair) for pair in series.values()])
        ends = [values.min(), values.max()]
        axes.plot(ends, ends, color=FAINT, linewidth=1.5)
        for model, (across, up) in series.items():
            mark = MARKERS.get(model, "D")
            axes.plot(across, up, mark, color=colour_of(model), markersize=4, alpha=0.55, linestyle="", label=model)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.legend()

    return plot(draw, name, (4.8, 4.2))
