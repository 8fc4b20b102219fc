"""`python -m jsc.report PATH...` and `python -m jsc.report compare A B`: reports from result files alone."""

import glob
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from jsc.cli.command import compose_command
from jsc.cli.settings import ReportSettings, is_option
from jsc.errors import ComparisonError, NoRunError
from jsc.reporting import (
    LabTable,
    Tolerances,
    comparison_csv,
    find_run_folders,
    make_comparison,
    make_report,
    read_checkpoint,
    read_runs,
    write_document,
    write_report,
)

USAGE = """\
python -m jsc.report PATH... [key=value]     report runs: run folders, sweep folders, folders above them, or globs
python -m jsc.report compare A B [key=value] compare two tested checkpoints, or the best ones of two run folders

keys (values in conf/report.yaml): """


def main(words: list[str]) -> int:
    """Exit code: 0 done; 2 the command was wrong."""
    usage = USAGE + ", ".join(ReportSettings.model_fields)
    overrides = [word for word in words if re.match(r"[a-z_]+=", word) and not glob.glob(word)]  # noqa: PTH207  # absolute
    paths = [word for word in words if word not in overrides]
    if {"-h", "--help"} & set(words):
        print(usage)
        return 0
    if not paths:
        print(usage, file=sys.stderr)
        return 2
    config = compose_command("report", overrides, ReportSettings)
    try:
        out = _compare(paths[1:], config) if paths[0] == "compare" else report(paths, config)
    except (NoRunError, ComparisonError, OSError) as error:
        print(f"jsc.report: {error}", file=sys.stderr)
        return 2
    print(out / "report.html")
    return 0


def report(paths: Sequence[str], config: ReportSettings, *, lab_tables: Sequence[LabTable] = ()) -> Path:
    """Report the runs under `paths`; returns the report's folder. Raises NoRunError."""
    folders = find_run_folders(paths)
    runs = read_runs(folders, is_option)
    out = Path(config.out) if config.out else _above(folders) / "report"
    tolerances = Tolerances(
        confidence=config.confidence,
        stagnation=config.stagnation_tolerance,
        stagnation_epochs=config.stagnation_epochs,
        overfitting=config.overfitting_tolerance,
    )
    document = make_report(runs, tolerances=tolerances, title=config.title, lab_tables=lab_tables)
    write_report(document, runs, out)
    return out


def _compare(paths: list[str], config: ReportSettings) -> Path:
    if len(paths) != 2:
        raise ComparisonError(f"compare takes two run folders or checkpoints, not {len(paths)}")
    a, b = (read_checkpoint(Path(path)) for path in paths)
    out = Path(config.out) if config.out else _above([Path(path).resolve() for path in paths]) / "comparison"
    write_document(make_comparison(a, b), out, table=comparison_csv(a, b))
    return out


def _above(paths: list[Path]) -> Path:
    return Path(os.path.commonpath(paths))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
