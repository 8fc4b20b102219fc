"""A launch: the jobs are composed, those that are done are left out, the crew runs the others, the table grows."""

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.jsc_launcher._crew import Crew, Ended, visible_gpus
from hydra_plugins.jsc_launcher._display import Display
from hydra_plugins.jsc_launcher._shift import Shift, open_shift
from hydra_plugins.jsc_launcher._worker import Assignment
from jsc import console
from jsc.command import JobFailed, check
from jsc.prefix import adopt_run, share_key, shorter_run
from jsc.results import RESULT_FILE, write_record
from jsc.settings import TrainSettings
from jsc.sweep import Job, Sweep
from jsc.train import command_of
from jsc.train import main as train_main

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher

log = logging.getLogger(__name__)


def launch(launcher: "JscLauncher", job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
    """Run the jobs that are not done yet. Raises KeyboardInterrupt if the sweep was interrupted."""
    assert launcher.config is not None
    setup_globals()
    configure_log(launcher.config.hydra.hydra_logging, launcher.config.hydra.verbose)
    configs = [_job_config(launcher, o, initial_job_idx + i) for i, o in enumerate(job_overrides)]
    jobs = [_job(config) for config in configs]
    folder = Path(str(launcher.config.hydra.sweep.dir)).absolute()
    if OmegaConf.select(launcher.config, "sweep.dry_run"):
        from hydra_plugins.jsc_launcher._dry_run import dry_run

        dry_run(
            folder, jobs, [check(config, TrainSettings) for config in configs], num_workers=launcher.num_side_by_side
        )
        return []
    with open_shift(launcher) if launcher.shift is None else nullcontext(launcher.shift) as shift:
        return _Launch(launcher, shift, folder, dict(zip((j.num for j in jobs), configs, strict=True)), jobs).run()


def _job_config(launcher: "JscLauncher", overrides: Sequence[str], num: int) -> DictConfig:
    """A job's configuration with its folder's names resolved: here they are the same for all jobs."""
    assert launcher.config is not None
    assert launcher.hydra_context is not None
    told = [override for override in overrides if not override.startswith("sweep.")]  # of the sweep, not of a job
    config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, told)
    with open_dict(config):
        config.hydra.job.id = num
        config.hydra.job.num = num
        config.hydra.sweep.dir = str(launcher.config.hydra.sweep.dir)
    with _hydra_config(config):
        subdir = str(config.hydra.sweep.subdir)
    with read_write(config.hydra.sweep):
        config.hydra.sweep.subdir = subdir
    return config


@contextmanager
def _hydra_config(config: DictConfig) -> Iterator[None]:
    """`${hydra:...}` resolves to this configuration's."""
    holder = HydraConfig.instance()
    before = holder.cfg
    holder.set_config(config)
    try:
        yield
    finally:
        holder.cfg = before


def _job(config: DictConfig) -> Job:
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    overrides = tuple(_words(config, "task"))
    return Job(
        num=config.hydra.job.num,
        overrides=overrides,
        folder=(Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir).absolute(),
        settings=console.flat({str(k): v for k, v in plain.items() if k not in ("hydra", "sweep", "resume")}),
        command=command_of(overrides),
    )


def _words(config: DictConfig, kind: str) -> list[str]:
    """Overrides as they were typed, `${...}` included."""
    words = OmegaConf.to_container(config.hydra.overrides[kind], resolve=False)
    return [str(word) for word in words or ()]


@dataclass
class _Launch:
    launcher: "JscLauncher"
    shift: Shift
    folder: Path
    configs: Mapping[int, DictConfig]
    jobs: Sequence[Job]
    returns: dict[int, JobReturn] = field(default_factory=dict)
    tries: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        launcher = self.launcher
        assert launcher.config is not None
        self.is_training = launcher.task_function is train_main
        words = [*_words(launcher.config, "hydra"), *_words(launcher.config, "task")]
        words = [word for word in words if not word.startswith("hydra.mode=")]
        resumes = OmegaConf.select(launcher.config, "sweep.resume") is not None
        if launcher.sweep is None:
            launcher.sweep = Sweep(self.folder, words)
        self.sweep = launcher.sweep
        self.sweep.add(self.jobs, resumes=resumes)
        self.signals = self.shift.signals
        self.waiting = [job for job in self.jobs if not (self.is_training and self._is_settled(job))]
        self.settings = {n: check(c, TrainSettings) for n, c in self.configs.items()} if self.is_training else {}
        shares = self.is_training and launcher.share_prefixes
        self.share_keys = {n: share_key(settings) for n, settings in self.settings.items()} if shares else {}
        num_jobs = len(self.waiting) if self.shift.num_jobs is None else self.shift.num_jobs
        self.num_workers = max(1, min(launcher.num_side_by_side, num_jobs))

    def _is_settled(self, job: Job) -> bool:
        return job.is_finished() or job.num in self.shift.settled

    def run(self) -> list[JobReturn]:
        done = [job for job in self.jobs if job not in self.waiting]
        for job in done:
            result = job.result()
            self.returns[job.num] = self._job_return(job, JobStatus.COMPLETED, result.objective if result else None)
        if self.shift.crew is None:
            num_jobs = self.shift.num_jobs or len(self.jobs)
            log.info(
                "Sweep of %d jobs in %s: %d to run with %d worker%s%s",
                num_jobs, os.path.relpath(self.folder), num_jobs - len(done), self.num_workers,
                "s" if self.num_workers > 1 else "", f", {len(done)} done before" if done else "",
            )  # fmt: skip
            self.shift.crew = Crew(self.num_workers, self._setup(), self._gpus())
            self.shift.display = Display(self.sweep, self.num_workers, num_jobs=num_jobs, num_done=len(done))
        assert self.shift.display is not None
        self._run_jobs(self.shift.crew, self.shift.display)
        if self.signals:
            raise KeyboardInterrupt
        return [self.returns[job.num] for job in self.jobs]

    def _run_jobs(self, crew: Crew, display: Display) -> None:
        asked_to_stop, table_is_old = False, True
        while crew.running or (self.waiting and not self.signals):
            while not self.signals and crew.has_room() and (job := self._next_job(crew)) is not None:
                self._start(crew, job)
            if table_is_old:  # while the workers are busy again
                self.sweep.write_tables()
                table_is_old = False
            if self.signals and not asked_to_stop:
                asked_to_stop = True
                log.warning("Stopping: running jobs save where they are; once more stops at once.")
                crew.interrupt()
            if len(self.signals) > 1:
                break
            for ended in crew.wait(0.1):
                self._take(ended, display)
                table_is_old = True
            display.update(crew.running)
        for num in [num for num, state in self.sweep.states.items() if state == "running"]:
            self.sweep.states[num] = "interrupted"

    def _next_job(self, crew: Crew) -> Job | None:
        """The first that need not wait for a shorter run of the same settings."""
        if not self.waiting:
            return None
        unfinished = [*self.waiting, *(job for job in self.jobs if job.num in crew.running)]
        for job in self.waiting:
            key = self.share_keys.get(job.num)
            if key is None or not any(
                self.share_keys[other.num] == key and self._max_epochs(other) < self._max_epochs(job)
                for other in unfinished
            ):
                return job
        return None

    def _max_epochs(self, job: Job) -> int:
        return self.settings[job.num].trainer.max_epochs

    def _start(self, crew: Crew, job: Job) -> None:
        config = self.configs[job.num]
        prepare = None
        if self.is_training:
            resume_from = None
            if job.can_go_on() and not self.tries[job.num]:
                resume_from = job.last_checkpoint
            else:
                job.clear()
                shorter = self._shorter_job(job)
                if shorter is not None:
                    prepare = partial(adopt_run, shorter.folder, job.folder, self.settings[job.num])
                    resume_from = job.last_checkpoint
            with read_write(config):
                config.resume = str(resume_from) if resume_from is not None else None
        self.waiting.remove(job)
        self.tries[job.num] += 1
        self.sweep.states[job.num] = "running"
        self.sweep.errors.pop(job.num, None)
        crew.start(job.num, Assignment(config, self._log_file(job), prepare))

    def _shorter_job(self, job: Job) -> Job | None:
        key = self.share_keys.get(job.num)
        group = [other for other in self.jobs if key is not None and self.share_keys[other.num] == key]
        folder = shorter_run([other.folder for other in group], self._max_epochs(job)) if group else None
        return next((other for other in group if other.folder == folder), None)

    def _log_file(self, job: Job) -> Path:
        return job.folder / f"{self.configs[job.num].hydra.job.name}.log"

    def _take(self, ended: Ended, display: Display) -> None:
        """Note how a job ended, and try it again if that is wanted."""
        job = next(job for job in self.jobs if job.num == ended.key)
        self.sweep.states.pop(job.num)
        finished = self.is_training and job.is_finished()
        job_return = ended.job_return
        if job_return is not None and job_return.status == JobStatus.COMPLETED:
            self.returns[job.num] = job_return
        elif finished:  # its worker died after the job's end
            result = job.result()
            self.returns[job.num] = self._job_return(job, JobStatus.COMPLETED, result.objective if result else None)
        elif self.signals or (job_return is None and ended.death is None):
            self.sweep.states[job.num] = "interrupted"
            if job_return is None and ended.death is None and not self.signals:
                self.signals.append(signal.SIGTERM)  # someone else stopped the worker: the user is leaving
        else:
            self._note_failure(job, ended)
            if self.launcher.on_failure == "retry" and self.tries[job.num] <= self.launcher.num_retries:
                log.warning("%s: failed (%s); trying it again", job.folder.name, self.sweep.errors[job.num])
                self.waiting.insert(0, job)
                return
            if self.launcher.on_failure == "stop":
                for other in self.waiting:
                    reason = JobFailed(f"not started: job {job.num} failed and on_failure=stop")
                    self.returns[other.num] = self._job_return(other, JobStatus.FAILED, reason)
                self.waiting.clear()
        status = self._status(job)
        self._note_generic(job, status)
        display.ended(job, status, ended.seconds)

    def _status(self, job: Job) -> str:
        if job.num in self.sweep.states:
            return self.sweep.states[job.num]
        result = job.result() if self.is_training else None
        return result.status if result is not None else "completed"

    def _note_generic(self, job: Job, status: str) -> None:
        """A task that writes no result.json leaves its status here alone."""
        if not self.is_training:
            self.sweep.states[job.num] = status

    def _note_failure(self, job: Job, ended: Ended) -> None:
        result = job.result() if self.is_training else None
        error: object = ended.death
        if ended.job_return is not None:
            value: Any = ended.job_return._return_value
            error = result.error if result is not None and isinstance(value, JobFailed) else f"{value!r}"
        message = str(error)
        self.sweep.states[job.num] = "failed"
        self.sweep.errors[job.num] = message
        if ended.death is not None:
            with self._log_file(job).open("a") as file:
                file.write(f"The run failed: {message}\n")
        if self.is_training and (result is None or result.status != "failed"):
            self._record_failure(job, message, ended.seconds)
        told = JobFailed(f"job {job.num} ({job.folder.name}): {message}")
        returned = ended.job_return or self._job_return(job, JobStatus.FAILED, told)
        if isinstance(returned._return_value, JobFailed):
            returned.return_value = told
        self.returns[job.num] = returned

    def _record_failure(self, job: Job, message: str, seconds: float) -> None:
        """The result.json that a job could not write itself."""
        from jsc.training import Run

        run = Run(self.settings[job.num], job.folder, job.command, clock=time.perf_counter() - seconds)
        write_record(job.folder / RESULT_FILE, run.record("failed", message))

    def _job_return(self, job: Job, status: JobStatus, value: Any) -> JobReturn:
        config = self.configs[job.num]
        returned = JobReturn(overrides=list(job.overrides), working_dir=os.getcwd(), task_name=config.hydra.job.name)  # noqa: PTH109  # a string, as Hydra has it
        returned.status, returned.return_value = status, value
        return returned

    def _setup(self) -> bytes:
        """What a worker needs to know before its first job; functions of the user's script travel by value."""
        packed: bytes = cloudpickle.dumps(
            (self.launcher.task_function, self.launcher.hydra_context, Singleton.get_state())
        )
        return packed

    def _gpus(self) -> list[str]:
        """One GPU a worker, unless a job wants more than one."""
        settings = self.settings.values()
        if not settings or any(s.trainer.accelerator == "cpu" or s.trainer.devices > 1 for s in settings):
            return []
        return visible_gpus()
