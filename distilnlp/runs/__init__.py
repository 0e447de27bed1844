"""Runs: a recipe carried out in stages, in one folder, each stage reused while what went into it is the same."""

from distilnlp.runs.dry_run import dry_run
from distilnlp.runs.measurement import evaluate_saved
from distilnlp.runs.pipeline import cache, run
from distilnlp.runs.plan import Plan, make_plan

__all__ = ["Plan", "cache", "dry_run", "evaluate_saved", "make_plan", "run"]
