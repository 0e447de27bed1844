"""Regression: a text has a score."""
