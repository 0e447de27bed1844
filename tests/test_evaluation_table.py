"""The table: how figures are shown."""

import pytest

from distilnlp.evaluation import FIGURES, summary_table
from distilnlp.evaluation.table import percent


def report(**changes):
    speed = {"latency_ms_median": 10.0, "latency_ms_p95": 12.5, "throughput_per_second": 400.0, "batch_size": 32}
    return {
        "metrics": {
            "accuracy": {"value": 0.9, "low": 0.85, "high": 0.95},
            "macro_f1": {"value": 0.89, "low": 0.8, "high": 0.93},
        },
        "fidelity": {"agreement": 0.97, "kl": 0.0123},
        "calibration_error": 0.04,
        "parameters": {"total": 22_700_000, "embeddings": 11_900_000, "other": 10_800_000},
        "bytes": 90_900_000,
        "speed": speed,
        "text": None,
        "labelled_by": None,
        **changes,
    }


def with_metric(name, value):
    return report(metrics={name: {"value": value, "low": value * 0.9, "high": value * 1.1}})


def rows_of(table):
    """The cells of each row, by what the row is of; the two speed-ups are told apart by their order."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    header, _, *rows = lines
    names = [f"{row[0]} {index}" if row[0] == "speed-up" else row[0] for index, row in enumerate(rows)]
    return header[1:], dict(zip(names, (row[1:] for row in rows), strict=True))


def test_table_has_a_column_for_every_model_and_a_row_for_every_figure():
    fast = {"latency_ms_median": 2.5, "latency_ms_p95": 3.0, "throughput_per_second": 1800.0, "batch_size": 32}
    table = summary_table({"teacher": report(fidelity=None), "student": report(speed=fast)})
    assert len({len(line) for line in table.splitlines()}) == 1
    models, rows = rows_of(table)
    assert models == ["teacher", "student"]
    assert {name: cells[1] for name, cells in rows.items()} == {
        "accuracy": "0.900",
        "95% interval, from": "0.850",
        "95% interval, to": "0.950",
        "macro-F1": "0.890",
        "agreement": "0.970",
        "KL (nats)": "0.012",
        "calibration error": "0.040",
        "parameters (M)": "22.7",
        "size (MB)": "90.9",
        "latency, 1 text (ms)": "2.50",
        "95th percentile (ms)": "3.00",
        "speed-up 11": "4.00×",
        "throughput, batches of 32 (/s)": "1800",
        "speed-up 13": "4.50×",
    }
    assert rows["agreement"][0] == "–"


def test_table_of_four_models_fits_a_terminal():
    names = ("teacher", "teacher, cut", "student", "baseline")
    tables = [summary_table(dict.fromkeys(names, with_metric(name, 123456.0))) for name in ("accuracy", "perplexity")]
    assert max(len(line) for table in tables for line in table.splitlines()) <= 80


def test_table_leaves_out_what_was_not_measured():
    table = summary_table({"a|b": report(fidelity=None, speed=None)})
    assert "agreement" not in table
    assert "latency" not in table
    assert "tokens" not in table
    assert "a\\|b" in table


def test_table_says_what_is_undefined():
    nothing = dict.fromkeys(("value", "low", "high"))
    undefined = report(metrics={"pearson": nothing}, fidelity={"correlation": None}, calibration_error=None)
    _, rows = rows_of(summary_table({"teacher": with_metric("pearson", 0.5), "student": undefined}))
    for name in ("Pearson", "95% interval, from", "95% interval, to", "correlation with reference"):
        assert rows[name][1] == "n/a"
    assert rows["calibration error"] == ["0.040", "–"]


def test_table_says_how_many_texts_are_cut_where_some_are():
    long, short = {"max_length": 256, "cut": 0.0}, {"max_length": 64, "cut": 0.381}
    _, rows = rows_of(summary_table({"teacher": report(text=long), "student": report(text=short)}))
    assert rows["tokens read of a text, at most"] == ["256", "64"]
    assert rows["texts longer than that"] == ["0.0%", "38.1%"]
    assert "tokens" not in summary_table({"teacher": report(text=long), "student": report(text=long)})


def test_large_figures_have_fewer_decimals():
    _, rows = rows_of(summary_table({"student": with_metric("perplexity", 1234.56)}))
    assert rows["perplexity (lower is better)"] == ["1235"]
    assert rows["KL (nats)"] == ["0.012"]
    lower = {name for name, figure in FIGURES.items() if not figure.higher_is_better}
    assert lower == {"perplexity", "kl", "absolute_difference"}


def test_a_metric_and_a_measure_of_fidelity_never_share_a_row():
    fidelity = {"correlation": 0.95, "absolute_difference": 0.2, "agreement": 0.9, "kl": 0.1}
    for name in ("accuracy", "micro_f1", "pearson", "entity_f1", "f1", "perplexity"):
        _, rows = rows_of(summary_table({"student": {**with_metric(name, 0.5), "fidelity": fidelity}}))
        assert len(rows) == 3 + len(fidelity) + 1 + 2 + 5


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0.0%"), (0.0001, "<0.1%"), (0.5, "50.0%"), (0.9999, ">99.9%"), (1, "100.0%")],
)
def test_a_share_that_is_not_nothing_does_not_read_as_nothing(share, said):
    assert percent(share) == said


def test_figures_against_a_teachers_answers_are_called_so_and_no_quality():
    table = summary_table({"teacher": report(labelled_by="teacher"), "student": report(labelled_by="teacher")})
    _, rows = rows_of(table)
    assert rows["quality"] == ["unmeasured", "unmeasured"]
    assert rows["accuracy, as the teacher"] == ["0.900", "0.900"]
    assert rows["macro-F1, as the teacher"] == ["0.890", "0.890"]
    assert not {"accuracy", "macro-F1"} & rows.keys()
