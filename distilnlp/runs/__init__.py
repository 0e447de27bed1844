"""Runs: a recipe carried out in steps, in one folder, each step reused while what went into it is the same."""

from distilnlp.runs.api import DistillationResult, distill
from distilnlp.runs.benchmarking import BenchmarkPlan, benchmark_saved
from distilnlp.runs.exporting import export_saved
from distilnlp.runs.measurement import evaluate_saved
from distilnlp.runs.plan import Plan
from distilnlp.runs.predicting import predict_saved
from distilnlp.runs.pushing import push_saved
from distilnlp.runs.runner import cache, dry_run, make_plan, run

__all__ = [
    "BenchmarkPlan",
    "DistillationResult",
    "Plan",
    "benchmark_saved",
    "cache",
    "distill",
    "dry_run",
    "evaluate_saved",
    "export_saved",
    "make_plan",
    "predict_saved",
    "push_saved",
    "run",
]
