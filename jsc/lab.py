"""Ask the labs' questions, a sweep each, and report what comes of them.

The labs are five student reports of a MASE course on batch size, epochs,
learning rate and size. Settings of jsc.train go to every sweep.

python -m jsc.lab
python -m jsc.lab questions=[batch_size,ten_times] seeds=[0,1,2,3,4]
python -m jsc.lab optimizer.lr=1e-4 hydra.launcher.num_workers=8 out=lab
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jsc import train
from jsc.cli.command import DONE, FAILED, INTERRUPTED, compose_command, explained_errors, key_of, quote_path, run_hydra
from jsc.cli.help import answers_help
from jsc.cli.reports import report
from jsc.cli.settings import LabSettings
from jsc.errors import NoRunError
from jsc.sweep.lab import check_overrides, run_sweeps, sweep_arguments


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 done; 1 a job failed; 2 the command was wrong; 130 interrupted."""
    if answers_help(arguments, __doc__, "lab", LabSettings):
        return DONE
    own = [a for a in arguments if key_of(a).partition(".")[0] in LabSettings.model_fields]
    further = [quote_path(a) for a in arguments if a not in own]
    lab = compose_command("lab", own, LabSettings)
    with explained_errors("train", further):
        check_overrides(further)
        sweeps = {question: sweep_arguments(question, lab, further) for question in lab.questions}
    try:
        code = run_sweeps(sweeps, out=Path(lab.out), run=run_sweep)
        if code in (DONE, FAILED) and "sweep.dry_run=true" not in further:
            print("\nThe report", flush=True)
            print(report([lab.out], lab.report, of_lab=True) / "report.html")
    except KeyboardInterrupt:
        print(f"jsc.lab: interrupted; the same command goes on in {lab.out}", file=sys.stderr)
        return INTERRUPTED
    except (NoRunError, OSError) as error:
        print(f"jsc.lab: {error}", file=sys.stderr)
        return FAILED
    return code


def run_sweep(arguments: Sequence[str]) -> int:
    """The exit code of `python -m jsc.train WORDS`, run in this process: the workers of all sweeps are forks of one."""
    sys.argv[1:] = arguments
    try:
        run_hydra(train.main, "train")
    except SystemExit as ended:
        return int(ended.code or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
