"""A launch: the jobs are composed, those that are done are left out, the others run somewhere, the table grows."""

import logging
import os
import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cloudpickle
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hydra_plugins.jsc_launcher._display import Display
from hydra_plugins.jsc_launcher._runner import End, PackedConfig, Work
from hydra_plugins.jsc_launcher._server import ask
from hydra_plugins.jsc_launcher._shift import Shift, open_shift
from jsc.cli import console
from jsc.cli.command import check
from jsc.cli.settings import TrainSettings, flat
from jsc.sweep.plan import FINISHED, Job, Sweep
from jsc.sweep.prefix import share_keys
from jsc.train import command_of
from jsc.train import main as train_main

if TYPE_CHECKING:
    from hydra_plugins.jsc_launcher.jsc_launcher import JscLauncher

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TABLES = 1.0


def launch(launcher: "JscLauncher", job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
    """Run the jobs that are not done yet. Raises KeyboardInterrupt if the sweep was interrupted."""
    assert launcher.config is not None
    setup_globals()
    configure_log(launcher.config.hydra.hydra_logging, launcher.config.hydra.verbose)
    is_dry = bool(OmegaConf.select(launcher.config, "sweep.dry_run"))
    is_training = launcher.task_function is train_main
    pack = pickle.dumps if is_training else cloudpickle.dumps  # which takes longer, and knows a user's own classes
    jobs, configs, settings = [], {}, {}
    progress = f"{{}} of {len(job_overrides):,} jobs prepared"
    for num, overrides in enumerate(console.counted(job_overrides, progress, log.info), start=initial_job_idx):
        config = _job_config(launcher, overrides, num)
        if is_training:
            config.resume = None  # what a job goes on from is known when it starts
        jobs.append(_job(config))
        configs[num] = PackedConfig(str(config.hydra.job.name), pack(config))
        if is_dry or is_training:
            settings[num] = check(config, TrainSettings)
    folder = Path(str(launcher.config.hydra.sweep.dir)).absolute()
    if is_dry:
        from hydra_plugins.jsc_launcher._dry_run import dry_run

        dry_run(folder, jobs, settings, launcher)
        return []
    with open_shift(launcher) if launcher.shift is None else nullcontext(launcher.shift) as shift:
        return _Launch(launcher, shift, folder, jobs, configs, settings).run()


def _job_config(launcher: "JscLauncher", overrides: Sequence[str], num: int) -> DictConfig:
    """A job's configuration with its folder's names resolved: here they are the same for all jobs."""
    assert launcher.config is not None
    assert launcher.composer is not None
    config = launcher.composer.take(launcher.config, overrides)
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
    holder.cfg = config  # type: ignore[assignment]  # as set_config() has it, without its copy
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
        settings=flat({str(k): v for k, v in plain.items() if k not in ("hydra", "sweep", "resume")}),
        command=command_of(overrides),
    )


def _words(config: DictConfig, kind: str) -> list[str]:
    """Overrides as they were typed, `${...}` included."""
    words = OmegaConf.to_container(config.hydra.overrides[kind], resolve=False)
    return [str(word) for word in words or ()]


@dataclass
class _Launch:
    """The sweep's books while its jobs run, wherever that is: it listens to what becomes of them."""

    launcher: "JscLauncher"
    shift: Shift
    folder: Path
    jobs: Sequence[Job]
    configs: Mapping[int, PackedConfig]
    settings: Mapping[int, TrainSettings]
    returns: dict[int, JobReturn] = field(default_factory=dict)
    table_is_old: bool = True
    next_table: float = 0.0

    def __post_init__(self) -> None:
        launcher = self.launcher
        assert launcher.config is not None
        words = [*_words(launcher.config, "hydra"), *_words(launcher.config, "task")]
        words = [word for word in words if not word.startswith("hydra.mode=")]
        resumes = OmegaConf.select(launcher.config, "sweep.resume") is not None
        if launcher.sweep is None:
            launcher.sweep = Sweep(self.folder, words)
        self.sweep = launcher.sweep
        self.sweep.add(self.jobs, resumes=resumes)
        self.work = Work(
            jobs=self.jobs,
            configs=self.configs,
            settings=self.settings,
            share_keys=share_keys(self.settings, ask) if launcher.share_prefixes else {},
            settled=self.shift.settled,
            setup=self._setup(),
            num_workers=launcher.layout().num_workers,
            on_failure=launcher.on_failure,
            num_retries=launcher.num_retries,
        )

    def run(self) -> list[JobReturn]:
        waiting = self.work.waiting()
        done = [job for job in self.jobs if job not in waiting]
        self.returns = {job.num: self.work.done(job) for job in done}
        place = self.shift.place
        if self.shift.display is None:
            num_jobs = self.shift.num_jobs or len(self.jobs)
            log.info(
                "Sweep of %d jobs in %s: %d to run %s%s",
                num_jobs, os.path.relpath(self.folder), num_jobs - len(done), place.words(num_jobs - len(done)),
                f", {len(done)} done before" if done else "",
            )  # fmt: skip
            num_side_by_side = self.launcher.num_side_by_side
            self.shift.display = Display(self.sweep, num_side_by_side, num_jobs=num_jobs, num_done=len(done))
        place.run(self.work, self, self.shift.signals)
        if self.shift.signals:
            raise KeyboardInterrupt
        return [self.returns[job.num] for job in self.jobs]

    def started(self, job: Job) -> None:
        self.sweep.states[job.num] = "running"
        self.sweep.errors.pop(job.num, None)

    def ended(self, job: Job, end: End) -> None:
        self.sweep.states.pop(job.num, None)
        if end.status not in ("missing", *FINISHED) or not self.work.is_training:  # else its files tell
            self.sweep.states[job.num] = end.status
        if end.error is not None:
            self.sweep.errors[job.num] = end.error
        if end.job_return is not None:
            self.returns[job.num] = end.job_return
        self.table_is_old = True
        if end.status != "missing":
            assert self.shift.display is not None
            self.shift.display.ended(job, end.status, end.seconds)

    def tick(self, running: Mapping[int, float]) -> None:
        started = time.monotonic()
        if self.table_is_old and started >= self.next_table:
            self.sweep.write_tables()
            self.table_is_old = False
            # A thousand rows take longer than a tiny network's job, and workers wait for this process.
            self.next_table = started + max(SECONDS_BETWEEN_TABLES, 20 * (time.monotonic() - started))
        assert self.shift.display is not None
        self.shift.display.update(running)

    def _setup(self) -> bytes:
        """What a worker needs to know before its first job; functions of the user's script travel by value."""
        packed: bytes = cloudpickle.dumps(
            (self.launcher.task_function, self.launcher.hydra_context, Singleton.get_state())
        )
        return packed
