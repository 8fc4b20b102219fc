"""Report runs, or compare two checkpoints, from their result files alone.

python -m jsc.report PATH... [key=value]
python -m jsc.report 'outputs/sweeps/*' title='Lab 1' out=my_report
python -m jsc.report compare A B [key=value]

PATH: the folder of a run or a sweep, a folder above them, or a glob.
A and B: tested checkpoints, or run folders, of which best.ckpt is taken.
"""

import glob
import re
import sys
from collections.abc import Sequence

from jsc.cli.command import DONE, WRONG_COMMAND, compose_command
from jsc.cli.help import answers_help
from jsc.cli.reports import compare, report
from jsc.cli.settings import ReportSettings
from jsc.errors import ComparisonError, NoRunError


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 done; 2 the command was wrong."""
    if answers_help(arguments, __doc__, "report", ReportSettings):
        return DONE
    overrides = [a for a in arguments if re.match(r"[a-z_]+=", a) and not glob.glob(a)]  # noqa: PTH207  # absolute
    paths = [a for a in arguments if a not in overrides]
    if not paths:
        print(__doc__, file=sys.stderr)
        return WRONG_COMMAND
    settings = compose_command("report", overrides, ReportSettings)
    try:
        out = compare(paths[1:], settings) if paths[0] == "compare" else report(paths, settings)
    except (NoRunError, ComparisonError, OSError) as error:
        print(f"jsc.report: {error}", file=sys.stderr)
        return WRONG_COMMAND
    print(out / "report.html")
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
