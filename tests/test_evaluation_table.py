"""The table and the verdict: how figures are shown."""

import pytest

from distilnlp.evaluation import LOWER_IS_BETTER, summary_table, verdict


def report(**changes):
    speed = {"latency_ms_median": 10.0, "latency_ms_p95": 12.5, "throughput_per_second": 400.0}
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
        **changes,
    }


def cells(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_table_has_a_row_for_every_model_and_a_column_for_every_figure():
    fast = {"latency_ms_median": 2.5, "latency_ms_p95": 3.0, "throughput_per_second": 1600.0}
    lines = summary_table({"teacher": report(fidelity=None), "student": report(speed=fast)}).splitlines()
    assert len({len(line) for line in lines}) == 1
    header, _, teacher, student = map(cells, lines)
    assert teacher[0] == "teacher"
    assert dict(zip(header, student, strict=True)) == {
        "model": "student",
        "accuracy [95% CI]": "0.900 [0.850, 0.950]",
        "macro-F1": "0.890",
        "agreement": "0.970",
        "KL (nats)": "0.012",
        "calibration error": "0.040",
        "parameters (M)": "22.7",
        "size (MB)": "90.9",
        "latency median / p95 (ms)": "2.50 / 3.00",
        "throughput (texts/s)": "1600",
        "speed-up": "4.00×",
    }
    assert dict(zip(header, teacher, strict=True))["agreement"] == "–"


def test_table_leaves_out_what_was_not_measured():
    table = summary_table({"a|b": report(fidelity=None, speed=None)})
    assert "agreement" not in table
    assert "latency" not in table
    assert "a\\|b" in table


def with_metric(name, value):
    return report(metrics={name: {"value": value, "low": value * 0.9, "high": value * 1.1}})


def test_large_figures_have_fewer_decimals():
    table = summary_table({"student": with_metric("perplexity", 1234.56)})
    header, _, row = map(cells, table.splitlines())
    figures = dict(zip(header, row, strict=True))
    assert figures["perplexity (lower is better) [95% CI]"] == "1235 [1111, 1358]"
    assert figures["KL (nats)"] == "0.012"


def test_a_metric_and_a_measure_of_fidelity_never_share_a_column():
    fidelity = {"correlation": 0.95, "absolute_difference": 0.2, "agreement": 0.9, "kl": 0.1}
    for name in ("accuracy", "micro_f1", "pearson", "entity_f1", "f1", "perplexity"):
        with_fidelity = {**with_metric(name, 0.5), "fidelity": fidelity}
        header = cells(summary_table({"student": with_fidelity}).splitlines()[0])
        assert len(header) == 1 + 1 + len(fidelity) + 1 + 2 + 3


@pytest.mark.parametrize(
    ("metric", "kept", "whole", "said"),
    [
        ("accuracy", 0.8765, 0.9, "The student's accuracy is 87.6%, the teacher's 90.0%; "),
        ("entity_f1", 0.5, 1.0, "The student's entity F1 is 50.0%, the teacher's 100.0%; "),
        ("pearson", 0.8812, 0.9, "The student's Pearson is 0.88, the teacher's 0.90; "),
        ("mcc", -0.1, 0.5, "The student's MCC is -0.10, the teacher's 0.50; "),
        ("perplexity", 12.34, 9.8, "The student's perplexity (lower is better) is 12.3, the teacher's 9.80; "),
    ],
)
def test_verdict_gives_percent_only_for_shares(metric, kept, whole, said):
    results = {"teacher": with_metric(metric, whole), "student": {**with_metric(metric, kept), "bytes": 45_450_000}}
    assert verdict(results) == f"{said}it reads 1.0 times as many texts a second and is 2.0 times smaller on disk."
    assert (metric in LOWER_IS_BETTER) == ("lower is better" in said)


def test_verdict_needs_a_student_and_its_teacher():
    assert verdict({"student": report()}) == ""
    slow = {"teacher": report(speed=None), "student": report(speed=None)}
    assert verdict(slow).endswith("; it is 1.0 times smaller on disk.")
