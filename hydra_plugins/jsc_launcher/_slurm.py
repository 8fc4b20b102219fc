"""Slurm as a sweep's cluster: submitit submits and keeps the logs, squeue says what has become of a task.

Submitit would ask sacct, which a cluster without an accounting database has not, and which lags behind; squeue knows a
task for some minutes after its end (MinJobAge).
"""

import logging
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, JobPaths

from jsc.errors import CommandError

log = logging.getLogger(__name__)

_ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
          "REVOKED", "TIMEOUT"}  # fmt: skip
_FORGOTTEN = "ended, and Slurm has forgotten how"


class SlurmCluster:
    """`parameters`: submitit's for a task. Raises CommandError where there is no Slurm."""

    name = "Slurm"

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        missing = [command for command in ("sbatch", "srun", "squeue", "scancel") if shutil.which(command) is None]
        if missing:
            raise CommandError(
                f"hydra/launcher=submitit_slurm: there is no {missing[0]} here. Start the sweep on a login node of the "
                "cluster, or use hydra/launcher=jsc on this machine"
            )
        self._parameters = parameters
        self._started = self._asked = 0.0

    def submit(self, tasks: Sequence[Callable[[], None]], folder: Path) -> dict[str, Path]:
        self._started = time.monotonic()
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
        executor.update_parameters(
            name="jsc",
            nodes=1,
            tasks_per_node=1,
            stderr_to_stdout=True,
            slurm_signal_delay_s=0,  # no signal before the time limit: at the limit SIGTERM comes, and jobs save
            **self._parameters,
        )
        try:
            ids = [job.job_id for job in executor.submit_array(tasks)]
        except (FailedJobError, FailedSubmissionError) as error:
            raise CommandError(f"Slurm did not take the tasks: {error}") from error
        return {task_id: JobPaths(folder, task_id).stdout for task_id in ids}

    def ended(self, ids: Sequence[str]) -> dict[str, str]:
        now = time.monotonic()
        if not ids or now - self._asked < min(30.0, max(1.0, (now - self._started) / 10)):
            return {}
        self._asked = now
        states = _states(ids)
        known = {} if states is None else {task_id: states.get(task_id, _FORGOTTEN) for task_id in ids}
        return {task_id: state for task_id, state in known.items() if state in (*_ENDED, _FORGOTTEN)}

    def cancel(self, ids: Sequence[str]) -> None:
        subprocess.run(["scancel", *ids], check=False)
        self._started = time.monotonic()  # someone waits: ask often again


def _states(ids: Sequence[str]) -> dict[str, str] | None:
    """What squeue knows of these tasks, ended ones included; None if it does not answer."""
    jobs = ",".join(sorted({task_id.partition("_")[0] for task_id in ids}))
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--jobs={jobs}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        return dict(line.split(maxsplit=1) for line in answer.stdout.splitlines())
    if "Invalid job id" in answer.stderr:
        return {}
    log.warning("squeue: %s", answer.stderr.strip())
    return None
