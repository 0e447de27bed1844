"""What a run has made, as a page to be read: `report.html`, written from the files in the run's folder alone."""

from distilnlp.report.comparison import Comparison
from distilnlp.report.evidence import Evidence
from distilnlp.report.page import write_report

__all__ = ["Comparison", "Evidence", "write_report"]
