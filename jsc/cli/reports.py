"""Reports as a command asks for them: of which folders, written where, with which tolerances."""

import os
from collections.abc import Sequence
from pathlib import Path

from jsc import reporting
from jsc.cli.settings import ReportSettings, is_option
from jsc.errors import ComparisonError


def report(paths: Sequence[str], settings: ReportSettings, *, of_lab: bool = False) -> Path:
    """Report the runs under `paths`, beside the labs' own figures if it is `of_lab`; returns the report's folder.

    Raises NoRunError.
    """
    folders = reporting.find_run_folders(paths)
    runs = reporting.read_runs(folders, is_option)
    out = Path(settings.out) if settings.out else Path(os.path.commonpath(folders)) / "report"
    tolerances = reporting.Tolerances(
        confidence=settings.confidence,
        stagnation=settings.stagnation_tolerance,
        stagnation_epochs=settings.stagnation_epochs,
        overfitting=settings.overfitting_tolerance,
    )
    lab_tables = reporting.lab_tables() if of_lab else ()
    document = reporting.make_report(runs, tolerances=tolerances, title=settings.title, lab_tables=lab_tables)
    reporting.write_report(document, runs, out)
    return out


def compare(paths: Sequence[str], settings: ReportSettings) -> Path:
    """Compare two tested checkpoints, or two runs' best ones; returns the folder. Raises ComparisonError."""
    if len(paths) != 2:
        raise ComparisonError(f"compare takes two run folders or checkpoints, not {len(paths)}")
    a, b = (reporting.read_checkpoint(Path(path)) for path in paths)
    above = Path(os.path.commonpath([Path(path).resolve() for path in paths]))
    out = Path(settings.out) if settings.out else above / "comparison"
    reporting.write_document(reporting.make_comparison(a, b), out, table=reporting.comparison_csv(a, b))
    return out
