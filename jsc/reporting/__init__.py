"""Reports from result files alone: tables, figures, text. Imports no torch."""

from jsc.errors import ComparisonError, NoRunError
from jsc.reporting.comparison import comparison_csv, make_comparison, read_checkpoint
from jsc.reporting.curves import Tolerances
from jsc.reporting.lab_report import make_report, write_document, write_report
from jsc.reporting.references import LabTable, lab_tables
from jsc.reporting.runs import Run, find_run_folders, read_runs

__all__ = [
    "find_run_folders",
    "read_runs",
    "make_report",
    "write_report",
    "read_checkpoint",
    "make_comparison",
    "comparison_csv",
    "write_document",
    "lab_tables",
    "LabTable",
    "Run",
    "Tolerances",
    "NoRunError",
    "ComparisonError",
]
