"""The `distilnlp` command."""

from distilnlp.cli.commands import main

__all__ = ["main"]
