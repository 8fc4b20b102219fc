"""A task of a sweep on a cluster: the ordinary command, `-m sweep.resume=FOLDER sweep.part=3/20`, in this process."""

import os
import platform
import runpy
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from jsc.cli.command import DONE, FAILED, quoted
from jsc.sweep.split import Part

COMPLETED = "COMPLETED"  # how a task ends whose command ran, as Slurm has it


def task_of(sweep: Path, part: Part, own: Sequence[str] = ()) -> Callable[[], None]:
    """What a node runs, in surroundings like this process's: current folder, folders of modules, jsc's variables.

    `own`: the head's own overrides, which a file alone might not give (`jsc.cli.trust`).
    """
    variables = {name: value for name, value in os.environ.items() if name.startswith("JSC_")}
    overrides = (*own, f"sweep.resume={quoted(str(sweep))}", f"sweep.part={part}")
    return partial(_run, overrides, (Path.cwd(), sweep), tuple(sys.path), variables)


def _run(
    overrides: Sequence[str], folders: Sequence[Path], module_path: Sequence[str], variables: Mapping[str, str]
) -> None:
    """Raises RuntimeError where the node does not see the folders, or the command was refused or interrupted."""
    for folder in folders:
        if not folder.is_dir():
            raise RuntimeError(
                f"{folder} is not there on {platform.node()}: start the sweep from a folder, and let it write to one, "
                "that every node sees"
            )
    os.chdir(folders[0])
    sys.path += [folder for folder in module_path if folder not in sys.path]
    os.environ.update(variables)
    # Where Lightning sees a step of Slurm's, it takes the number of processes from Slurm and requeues the task itself.
    os.environ.pop("SLURM_NTASKS", None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # submitit lets it pass; running jobs are to save
    # A time limit that comes near (submitit asks for that signal): every minute of it is used, SIGTERM ends it.
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    sys.argv[:] = ["jsc.train", "-m", *overrides]
    try:
        runpy.run_module("jsc.train", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code not in (DONE, FAILED):  # FAILED: jobs did, and their records say why
            raise RuntimeError(f"the command ended with exit code {ended.code}") from None
