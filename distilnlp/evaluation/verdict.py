"""What the results of `evaluate_models` mean, as a careful colleague would say it: the bad news first."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any

import numpy as np

from distilnlp.evaluation.quality import Figures, figure_named
from distilnlp.evaluation.report import ModelReport
from distilnlp.evaluation.table import LATENCY, percent, throughput_title
from distilnlp.metrics import Figure, Interval, amount

CUT_TEACHER = "teacher, cut"  # the teacher on texts that are cut where the student's are
INT8_STUDENT = "int8"  # the student's graph in int8
FEWEST_ROWS = 20  # of fewer, the intervals of a bootstrap are too narrow to decide anything
WIDE = 0.05  # a metric that is known no better than this, either way, tells little
NARROW = 0.02  # and so it tells enough
BARELY = 0.1  # of the way from one answer for all texts to a perfect one
POOR = 0.9  # a student that certainly keeps less than this share of its teacher's figure has lost much
RIVALS = {"student": "its student", "baseline": "the same student on the labels alone"}

TRAIN_MORE = "Give it more steps, labels or unlabelled text, or try another learning rate"
MEND_TEACHER = (
    "Check the order of its labels and that it is meant for these texts, or fine-tune it for more steps, on more "
    "labels or at another learning rate"
)


class Rank(IntEnum):
    """In which order things are said."""

    BAD = 0
    UNSURE = 1
    PLAIN = 2


class Relation(Enum):
    """How the figures of two models stand to one another."""

    ABOVE = "above"
    BELOW = "below"
    SAME = "not told apart"


Said = Iterator[tuple[Rank, str]]
Part = Callable[[Mapping[str, Any]], Said]


def verdict(results: Mapping[str, ModelReport]) -> list[str]:
    """Say in sentences what the student is worth beside its teacher, the labels alone and no model at all.

    A difference is one if its 95% interval, over paired draws of the test rows, does not hold 0. Bad news comes first,
    then what the rows cannot tell, then the rest.

    Args:
        results: what `evaluate_models` returned of models that are called `student`, and perhaps `teacher`,
            `CUT_TEACHER`, `baseline` and `INT8_STUDENT`; nothing is said without a student.
    """
    if "student" not in results:
        return []
    if results["student"]["labelled_by"] is not None:
        parts: tuple[Part, ...] = (_no_labels, _few_rows, _at_chance, _lengths, _savings, _in_int8)
    else:
        compared = (_at_chance, _teacher_below, _beside_labels) if results["student"]["units"] >= FEWEST_ROWS else ()
        parts = (_few_rows, *compared, _kept, _lengths, _savings, _in_int8)
    said = [sentence for part in parts for sentence in part(results)]
    return [text for _, text in sorted(said, key=lambda one: one[0])]


def teacher_warnings(results: Mapping[str, Any]) -> list[str]:
    """Say in sentences what is wrong with a teacher, alone or beside the labels alone; nothing on too few rows.

    Args:
        results: what `measure_quality` returned of a `teacher` and perhaps a `baseline`.
    """
    if results["teacher"]["units"] < FEWEST_ROWS:
        return []
    return [text for part in (_at_chance, _teacher_below) for _, text in part(results)]


def in_names(sentences: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Return sentences of a verdict with models called by their names.

    Args:
        sentences: of `verdict`.
        names: of `student` and perhaps `teacher`, by these roles.
    """
    roles = re.compile(rf"\b[Tt]he ({'|'.join(map(re.escape, names))})\b(?!,)")
    return [roles.sub(lambda found: names[found[1]], sentence) for sentence in sentences]


def relation_said(results: Mapping[str, Any], first: str, second: str) -> str:
    """Say how the first metric of one model stands to that of another, and whether the rows tell them apart.

    Args:
        results: what `measure_quality` returned of both.
        first, second: their names.
    """
    metric, units = _metric(results), results[first]["units"]
    difference = _beside(results[first], second)
    relation, pair = _relation(metric, difference, units), _pair(results, first, second)
    if relation is Relation.SAME:
        least = _least_seen(metric, difference, units)
        return f"{first} and {second} are not told apart by {_rows(units)}: {pair}{least}"
    better = "better" if relation is Relation.ABOVE else "worse"
    return f"{first} is {better} than {second}: {pair}."


def _no_labels(results: Mapping[str, ModelReport]) -> Said:
    """Say that the figures are of fidelity, and what the first is."""
    student, metric = results["student"], _metric(results)
    by, figure = student["labelled_by"], _first(student)
    yield (
        Rank.BAD,
        f"Quality was not measured: none of {_rows(student['units'])} has a label. The {by}'s answers stand for "
        f"labels, so that every figure says how well a model follows its {by}, and not how often it is right.",
    )
    yield (
        Rank.PLAIN,
        f"Held against the {by}'s answers, the student's {metric.title} is {metric.value(figure.value)} (95% interval "
        f"{metric.span(figure)}).",
    )


def _few_rows(results: Mapping[str, ModelReport]) -> Said:
    """Say how well the student's figure is known."""
    student = results["student"]
    metric, units = _metric(results), student["units"]
    figure = _first(student)
    if np.isnan(figure.value):
        yield Rank.BAD, f"The student's {metric.title} is undefined (n/a): {metric.why_undefined}."
        return
    spread = _resolution(figure, units)
    scale = 1 if metric.higher_is_better else figure.value
    if units < FEWEST_ROWS:
        yield (
            Rank.BAD,
            f"{_rows(units)} {'is' if units == 1 else 'are'} too few to tell anything: measure on some hundreds.",
        )
    elif spread > WIDE * scale:
        enough = round(units * (spread / (NARROW * scale)) ** 2, -2)
        yield (
            Rank.UNSURE,
            f"{_rows(units)} tell little: the student's {metric.title} of {metric.value(figure.value)} is known "
            f"to about ±{metric.width(spread)} (95% interval {metric.span(figure)}). About {enough:,.0f} "
            f"rows would tell ±{metric.width(NARROW * scale)}.",
        )


def _at_chance(results: Mapping[str, ModelReport]) -> Said:
    """Say whether teacher or student is no better than one answer for all texts, or hardly."""
    advice = {"teacher": f"A student can learn nothing from it. {MEND_TEACHER}", "student": TRAIN_MORE}
    for name in (name for name in advice if name in results):
        report = results[name]
        constant, metric = report["constant"], figure_named(report["constant"]["metric"])
        chance = _number(constant["value"])
        difference = _known(constant["difference"])
        relation = _relation(metric, difference, report["units"])
        is_near = difference.value < BARELY * (1 - chance)
        if np.isnan(difference.value) or (relation is Relation.ABOVE and not is_near):
            continue
        how, shown = {
            Relation.SAME: ("no better than", f", as far as {_rows(report['units'])} can show"),
            Relation.BELOW: ("worse than", ""),
            Relation.ABOVE: ("barely better than", ""),
        }[relation]
        own = _number(report["metrics"][metric.name]["value"])
        figures = f"{metric.title} {metric.value(own)} against {metric.value(chance)}"
        yield (
            Rank.BAD,
            f"The {name} is {how} {constant['answer']}{shown}: {figures} ({metric.difference(difference)}). "
            f"{advice[name]}.",
        )


def _teacher_below(results: Mapping[str, ModelReport]) -> Said:
    """Say that what should have taught is worse than what learned from it, or from the labels alone."""
    if "teacher" not in results:
        return
    teacher, metric = results["teacher"], _metric(results)
    below = [
        f"{named}: {_pair(results, 'teacher', rival)}"
        for rival, named in RIVALS.items()
        if rival in results and _relation(metric, _beside(teacher, rival), teacher["units"]) is Relation.BELOW
    ]
    if below:
        yield Rank.BAD, f"The teacher is below {'; and below '.join(below)}. {MEND_TEACHER}."


def _beside_labels(results: Mapping[str, ModelReport]) -> Said:
    """Say what distillation brought over the labels alone."""
    if "baseline" not in results or np.isnan(_beside(results["student"], "baseline").value):
        return
    student, metric = results["student"], _metric(results)
    difference = _beside(student, "baseline")
    relation = _relation(metric, difference, student["units"])
    pair = _pair(results, "student", "baseline")
    if relation is Relation.ABOVE:
        yield Rank.PLAIN, f"The student is above the same student on the labels alone: {pair}."
    elif relation is Relation.BELOW:
        yield (
            Rank.BAD,
            f"Distillation did harm: the student is below the same student on the labels alone: {pair}. Check the "
            "teacher; give the student more steps or more unlabelled text, another learning rate or more weight on the "
            "hard loss.",
        )
    else:
        yield (
            Rank.BAD,
            f"Distillation brought nothing over the labels alone that {_rows(student['units'])} can show: {pair}"
            + _least_seen(metric, difference, student["units"]),
        )


def _kept(results: Mapping[str, ModelReport]) -> Said:
    """Say what share of the teacher's figure the student kept."""
    if "teacher" not in results:
        return
    student, metric = results["student"], _metric(results)
    ratio, difference = _known(student["comparisons"]["teacher"]["ratio"]), _beside(student, "teacher")
    own, whole = (metric.value(_first(results[name]).value) for name in ("student", "teacher"))
    title = metric.title
    if np.isnan(ratio.value) or student["units"] < FEWEST_ROWS:
        yield Rank.PLAIN, f"The student's {title} is {own}, the teacher's {whole}."
        return
    if metric.higher_is_better:
        span = f"95% interval {ratio.low:.1%} to {ratio.high:.1%}"
        said = f"The student keeps {ratio.value:.1%} of the teacher's {title} ({span}): {own} against {whole}"
    else:
        span = f"95% interval {ratio.low:.2f} to {ratio.high:.2f}"
        said = f"The student's {title} is {ratio.value:.2f} times the teacher's ({span}): {own} against {whole}"
    said += _lead_kept(results)
    if _relation(metric, difference, student["units"]) is Relation.SAME:
        least = _least_seen(metric, difference, student["units"])
        yield Rank.PLAIN, f"{said}, no difference that {_rows(student['units'])} can show{least}"
    elif metric.higher_is_better and ratio.high < POOR:
        yield Rank.BAD, f"{said}. It has lost much: make it larger, or give it more steps or unlabelled text."
    else:
        yield Rank.PLAIN, f"{said}."


def _lead_kept(results: Mapping[str, ModelReport]) -> str:
    """Say what is left of the teacher's lead where most of its figure is reached without a model."""
    constant, metric = results["teacher"]["constant"], _metric(results)
    chance = _number(constant["value"])
    own, whole = (_first(results[name]).value for name in ("student", "teacher"))
    if metric.name != constant["metric"] or not whole / 2 < chance < min(own, whole):
        return ""
    kept = f"{(own - chance) / (whole - chance):.0%}"
    return f" ({kept} of the teacher's lead over {constant['answer']}, {metric.value(chance)})"


def _lengths(results: Mapping[str, ModelReport]) -> Said:
    """Say how many texts are cut, and what that costs the teacher."""
    metric = _metric(results)
    said = [
        f"{percent(text['cut'])} of the test texts are longer than the {text['max_length']} tokens the {name} reads"
        for name in ("student", "teacher")
        if name in results and (text := results[name]["text"]) and text["cut"]
    ]
    if said:
        yield Rank.UNSURE, f"{'; '.join(said)}: the rest is cut. A larger data.max_length would keep more."
    if CUT_TEACHER in results:
        whole, short = results["teacher"], results[CUT_TEACHER]
        at = [
            metric.value(_first(report).value)
            + (f" at {text['max_length']} tokens" if (text := report["text"]) else "")
            for report in (whole, short)
        ]
        yield (
            Rank.UNSURE,
            f"The teacher's {metric.title} is {at[0]}, its own length, and {at[1]}, the student's "
            f"({metric.difference(_beside(short, 'teacher'))}).",
        )


def _savings(results: Mapping[str, ModelReport]) -> Said:
    """Say how much smaller and faster the student is."""
    if "teacher" not in results:
        return
    teacher, student = results["teacher"], results["student"]
    said, is_slow = [f"{amount(teacher['bytes'] / student['bytes'])}× smaller on disk"], False
    if (before := teacher["speed"]) and (now := student["speed"]):
        latency = before["latency_ms_median"] / now["latency_ms_median"]
        throughput = now["throughput_per_second"] / before["throughput_per_second"]
        is_slow = max(latency, throughput) < 1
        said += [
            f"{LATENCY}: {amount(latency)}× as fast ({amount(before['latency_ms_median'])} to "
            f"{amount(now['latency_ms_median'])} ms)",
            f"{throughput_title(now)}: {amount(throughput)}× as much ({amount(before['throughput_per_second'])} to "
            f"{amount(now['throughput_per_second'])} a second)",
        ]
    if is_slow:
        yield Rank.BAD, f"The student is slower than its teacher: {'; '.join(said)}."
    else:
        yield Rank.PLAIN, f"Beside its teacher the student is {'; '.join(said)}."


def _in_int8(results: Mapping[str, ModelReport]) -> Said:
    """Say what int8 costs the student, and what it saves."""
    if INT8_STUDENT not in results:
        return
    student, graph, metric = results["student"], results[INT8_STUDENT], _metric(results)
    is_below = _relation(metric, _beside(graph, "student"), student["units"]) is Relation.BELOW
    said = f"In int8 the student has {_pair(results, INT8_STUDENT, 'student')}, and is "
    said += f"{amount(student['bytes'] / graph['bytes'])}× smaller"
    if (before := student["speed"]) and (now := graph["speed"]):
        said += f" and {amount(before['latency_ms_median'] / now['latency_ms_median'])}× as fast ({LATENCY})"
    yield Rank.BAD if is_below else Rank.PLAIN, f"{said}."


# ---- How figures are said ----


def _metric(results: Mapping[str, ModelReport]) -> Figure:
    return figure_named(next(iter(next(iter(results.values()))["metrics"])))


def _first(report: ModelReport) -> Interval:
    """Return a model's first metric."""
    return _known(next(iter(report["metrics"].values())))


def _beside(report: ModelReport, other: str) -> Interval:
    """Return the difference of a model's first metric from another's."""
    return _known(report["comparisons"][other]["difference"])


def _known(figures: Figures) -> Interval:
    return Interval(**{name: _number(value) for name, value in figures.items()})


def _number(value: float | None) -> float:
    """Return a number to compare and compute with: NaN, which makes every comparison false, for what is undefined."""
    return np.nan if value is None else value


def _relation(metric: Figure, difference: Interval, units: int) -> Relation:
    """Tell how a figure stands to another by the interval of its difference."""
    is_higher, is_lower = difference.low > 0, difference.high < 0
    if units < FEWEST_ROWS or not (is_higher or is_lower):
        return Relation.SAME
    return Relation.ABOVE if is_higher == metric.higher_is_better else Relation.BELOW


def _pair(results: Mapping[str, ModelReport], first: str, second: str) -> str:
    """Say the first metric of two models and their difference."""
    metric = _metric(results)
    values = [metric.value(_first(results[name]).value) for name in (first, second)]
    difference = metric.difference(_beside(results[first], second))
    return f"{metric.title} {values[0]} against {values[1]} ({difference})"


def _resolution(figure: Interval, units: int) -> float:
    """Return what the rows can tell apart: half of an interval, or 3 rows where all draws agree.

    Of n rows without a miss, up to 3/n of all may be missed (the 95% bound of Hanley and Lippman-Hand 1983).
    """
    return (figure.high - figure.low) / 2 or 3 / units


def _least_seen(metric: Figure, difference: Interval, units: int) -> str:
    if np.isnan(difference.low):
        return "."
    return f"; a difference of less than about {metric.width(_resolution(difference, units))} cannot be seen."


def _rows(units: int) -> str:
    return f"{units:,} test row{'' if units == 1 else 's'}"
