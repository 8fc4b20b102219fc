"""Slurm as a sweep's cluster: submitit submits and keeps the logs, squeue says what has become of a task.

Submitit would ask sacct, which a cluster without an accounting database has not, and which lags behind; squeue knows a
task for some minutes after its end (MinJobAge).
"""

import logging
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import submitit
from hydra.core.utils import JobReturn
from submitit.core.utils import FailedJobError, FailedSubmissionError, JobPaths, pickle_load

from hydra_plugins.jsc_launcher._node import NodeTask, run_task
from hydra_plugins.jsc_launcher._tasks import Task
from hydra_plugins.jsc_launcher.slurm_launcher import SlurmConf
from jsc.errors import CommandError

log = logging.getLogger(__name__)

_ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED", "REQUEUE_HOLD",
          "REQUEUE_FED", "RESIZING", "SIGNALING", "STAGE_OUT", "SPECIAL_EXIT", "RESV_DEL_HOLD"}  # fmt: skip
_FORGOTTEN = "ended, and Slurm has forgotten how"


class SlurmCluster:
    """Raises CommandError where there is no Slurm."""

    name = "Slurm"

    def __init__(self, conf: SlurmConf) -> None:
        missing = [command for command in ("sbatch", "srun", "squeue", "scancel") if shutil.which(command) is None]
        if missing:
            raise CommandError(
                f"hydra/launcher=submitit_slurm: there is no {missing[0]} here. Start the sweep on a login node of the "
                "cluster, or use hydra/launcher=jsc on this machine"
            )
        self._conf = conf
        self._started = self._asked = 0.0
        self._ended: dict[str, str] = {}

    def submit(self, tasks: Sequence[NodeTask], folder: Path) -> list[str]:
        self._started = time.monotonic()
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
        conf = self._conf
        asked = {
            "slurm_partition": conf.partition,
            "slurm_account": conf.account,
            "slurm_qos": conf.qos,
            "slurm_constraint": conf.constraint,
            "slurm_array_parallelism": conf.array_parallelism or len(tasks),
            "slurm_setup": conf.setup or None,
            "slurm_additional_parameters": conf.additional_parameters or None,
            "gpus_per_node": conf.gpus_per_task or None,
            "mem_gb": conf.mem_gb,
        }
        executor.update_parameters(
            name="jsc",
            timeout_min=conf.timeout_min,
            nodes=1,
            tasks_per_node=1,
            cpus_per_task=conf.cpus_per_task,
            stderr_to_stdout=True,
            slurm_signal_delay_s=0,  # no signal before the time limit: at the limit SIGTERM comes, and jobs save
            # Since Slurm 22.05 a step does not inherit it.
            slurm_srun_args=[f"--cpus-per-task={conf.cpus_per_task}"],
            **{name: value for name, value in asked.items() if value is not None},
        )
        try:
            return [job.job_id for job in executor.map_array(run_task, tasks)]
        except (FailedJobError, FailedSubmissionError) as error:
            raise CommandError(f"Slurm did not take the tasks: {error}") from error

    def still_knows(self, task_id: str) -> bool:
        states = _states([task_id])
        return states is None or states.get(task_id) in _ALIVE

    def ended(self, ids: Sequence[str]) -> dict[str, str]:
        now = time.monotonic()
        if now - self._asked > min(30.0, max(1.0, (now - self._started) / 10)):
            self._asked = now
            states = _states([task_id for task_id in ids if task_id not in self._ended])
            for task_id in ids:
                state = states.get(task_id, _FORGOTTEN) if states is not None else "PENDING"
                if state not in _ALIVE:
                    self._ended.setdefault(task_id, state)
        return {task_id: self._ended[task_id] for task_id in ids if task_id in self._ended}

    def returned(self, task_id: str, folder: Path) -> dict[int, JobReturn]:
        path = JobPaths(folder, task_id).result_pickle
        if not path.is_file():
            return {}
        outcome, value = pickle_load(path)
        returns: dict[int, JobReturn] = value if outcome == "success" else {}
        return returns

    def cancel(self, ids: Sequence[str]) -> None:
        subprocess.run(["scancel", *ids], check=False)

    def log_of(self, task: Task, folder: Path) -> Path:
        path: Path = JobPaths(folder, task.id).stdout
        return path

    def close(self) -> None:
        """Nothing is open."""


def _states(ids: Sequence[str]) -> dict[str, str] | None:
    """What squeue knows of these tasks, ended ones included; None if it does not answer."""
    if not ids:
        return {}
    jobs = ",".join(sorted({task_id.partition("_")[0] for task_id in ids}))
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T", f"--jobs={jobs}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        return dict(line.split(maxsplit=1) for line in answer.stdout.splitlines())
    if "Invalid job id" in answer.stderr:
        return {}
    log.warning("squeue: %s", answer.stderr.strip())
    return None
