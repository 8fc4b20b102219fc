"""From the overrides of a sweep's jobs to jobs that are checked: composed once, before there is a folder."""

import logging
import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from jsc.cli import console
from jsc.cli.command import check, check_added, command_of
from jsc.cli.composer import job_composer
from jsc.cli.settings import TrainSettings
from jsc.errors import CommandError, JobFailed
from jsc.sweep.checks import died, rehearse_kinds
from jsc.sweep.fork_server import Death, may_have_gpus, start_fork_server
from jsc.sweep.plan import Job
from jsc.sweep.prefix import share_keys
from jsc.sweep.session import MULTIRUN_FILE

log = logging.getLogger(__name__)


class JobMaker:
    """Makes the jobs of one sweep. `elsewhere`: they run on other machines. `shares`: they may begin with others."""

    def __init__(self, master: DictConfig, loader: ConfigLoader, *, elsewhere: bool, shares: bool) -> None:
        self._master = master
        self._compose = job_composer(loader, master)
        self._elsewhere = elsewhere
        self._shares = shares
        self._kinds: dict[str, bool | Death] = {}  # of jobs: what is known of their networks

    def make(self, job_overrides: Sequence[Sequence[str]], first: int = 0, *, may_die: bool = True) -> list[Job]:
        """Raises CommandError, pydantic's ValidationError and Hydra's errors for what cannot be run.

        And JobFailed for a network that kills its process, unless it `may_die`.
        """
        jobs = []
        progress = f"{{}} of {len(job_overrides):,} jobs prepared"
        for num, overrides in enumerate(console.counted(job_overrides, progress, log.info), start=first):
            config = self._config(overrides, num)
            settings = check(config, TrainSettings)
            check_added("train", overrides, config)
            if num == first and not may_have_gpus():
                start_fork_server()  # it gets ready while the others are composed
            folder = job_folder(Path(config.hydra.sweep.dir), str(config.hydra.sweep.subdir))
            told = tuple(overrides_of(config, "task"))
            jobs.append(Job(num, told, folder, command_of(told), settings, pickle.dumps(config)))
        found = rehearse_kinds([self._at_home(job.settings) for job in jobs], self._kinds)
        for job, answer in zip(jobs, found, strict=True):
            if isinstance(answer, Death) and not may_die:
                print(f"Job {job.num} cannot be built: {died(job.settings, answer)}", file=sys.stderr)
                raise JobFailed
        keys = share_keys([job.settings for job in jobs])
        return [
            replace(job, share_key=key if self._shares and answer is True else None)
            for job, key, answer in zip(jobs, keys, found, strict=True)
        ]

    def _at_home(self, settings: TrainSettings) -> TrainSettings:
        """For a rehearsal: a login node need not have the GPUs of its cluster's nodes."""
        if not self._elsewhere or settings.trainer.accelerator != "gpu":
            return settings
        trainer = settings.trainer.model_copy(update={"accelerator": "auto"})
        return settings.model_copy(update={"trainer": trainer})

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


def job_folder(sweep: Path, subdir: str) -> Path:
    """Where a job writes. Raises CommandError unless that lies in the sweep's folder: it might be a neighbour's."""
    folder = (sweep / subdir).absolute()
    if sweep.resolve() not in folder.resolve().parents:
        raise CommandError(
            f"hydra.sweep.subdir={subdir}: a job's folder lies in the sweep's, {sweep}; give a name in it"
        )
    return folder


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


def overrides_of(config: DictConfig, kind: str) -> list[str]:
    """Those of the task, or Hydra's, as they were typed, `${...}` included."""
    overrides = OmegaConf.to_container(config.hydra.overrides[kind], resolve=False)
    return [str(override) for override in overrides or ()]
