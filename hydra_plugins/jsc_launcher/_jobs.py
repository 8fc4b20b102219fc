"""From the overrides of a sweep's jobs to jobs that are checked: composed once, before there is a folder."""

import logging
import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from jsc.cli import console
from jsc.cli.command import check, check_added, command_of
from jsc.cli.composer import job_composer
from jsc.cli.settings import TrainSettings, flat
from jsc.errors import JobFailed
from jsc.sweep.checks import died, rehearse_kinds
from jsc.sweep.fork_server import Death, may_have_gpus, start_fork_server
from jsc.sweep.plan import Job
from jsc.sweep.session import MULTIRUN_FILE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Jobs in order; by number their settings, Hydra's configurations, pickled, and what is known of their networks."""

    jobs: list[Job]
    settings: dict[int, TrainSettings]
    configs: dict[int, bytes]
    draw_nothing: dict[int, bool | Death]


class JobMaker:
    """Makes the jobs of one sweep; `elsewhere`: they run on other machines."""

    def __init__(self, master: DictConfig, loader: ConfigLoader, *, elsewhere: bool) -> None:
        self._master = master
        self._compose = job_composer(loader, master)
        self._elsewhere = elsewhere
        self._kinds: dict[str, bool | Death] = {}

    def make(self, job_overrides: Sequence[Sequence[str]], first: int = 0) -> Batch:
        """Raises CommandError, pydantic's ValidationError and Hydra's errors for what cannot be run."""
        batch = Batch([], {}, {}, {})
        progress = f"{{}} of {len(job_overrides):,} jobs prepared"
        for num, overrides in enumerate(console.counted(job_overrides, progress, log.info), start=first):
            config = self._config(overrides, num)
            batch.settings[num] = check(config, TrainSettings)
            check_added("train", overrides, config)
            if num == first and not may_have_gpus():
                start_fork_server()  # it gets ready while the others are composed
            batch.jobs.append(_job(config))
            batch.configs[num] = pickle.dumps(config)
        settings = {n: _without_gpus(s) for n, s in batch.settings.items()} if self._elsewhere else batch.settings
        batch.draw_nothing.update(rehearse_kinds(settings, self._kinds))
        return batch

    def _config(self, overrides: Sequence[str], num: int) -> DictConfig:
        """A job's configuration with its folder's names resolved: here they are the same for all jobs."""
        config = self._compose(overrides)
        with open_dict(config):
            config.hydra.job.id = num
            config.hydra.job.num = num
            config.hydra.sweep.dir = str(self._master.hydra.sweep.dir)
            config.resume = None  # what a job goes on from is known when it starts
        with _hydra_config(config):
            subdir = str(config.hydra.sweep.subdir)
        with read_write(config.hydra.sweep):
            config.hydra.sweep.subdir = subdir
        return config


def check_jobs(master: DictConfig, loader: ConfigLoader, job_overrides: Sequence[Sequence[str]]) -> None:
    """For launchers that run them in this process: raises JobFailed for a network that would end it."""
    batch = JobMaker(master, loader, elsewhere=False).make(job_overrides)
    for num, answer in batch.draw_nothing.items():
        if isinstance(answer, Death):
            print(f"Job {num} cannot be built: {died(batch.settings[num], answer)}", file=sys.stderr)
            raise JobFailed


def save_multirun(config: DictConfig) -> None:
    """As Hydra's own sweeper does, in the sweep's folder."""
    folder = Path(str(config.hydra.sweep.dir))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MULTIRUN_FILE).exists():
        OmegaConf.save(config, folder / MULTIRUN_FILE)


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
    overrides = tuple(overrides_of(config, "task"))
    return Job(
        num=config.hydra.job.num,
        overrides=overrides,
        folder=(Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir).absolute(),
        settings=flat({str(k): v for k, v in plain.items() if k not in ("hydra", "sweep", "resume")}),
        command=command_of(overrides),
    )


def overrides_of(config: DictConfig, kind: str) -> list[str]:
    """Those of the task, or Hydra's, as they were typed, `${...}` included."""
    overrides = OmegaConf.to_container(config.hydra.overrides[kind], resolve=False)
    return [str(override) for override in overrides or ()]


def _without_gpus(settings: TrainSettings) -> TrainSettings:
    """For a rehearsal on a login node."""
    if settings.trainer.accelerator != "gpu":
        return settings
    trainer = settings.trainer.model_copy(update={"accelerator": "auto"})
    return settings.model_copy(update={"trainer": trainer})
