"""Train a network, then test it with its best checkpoint.

python -m jsc.train [group=choice] [key=value] [-m]        conf/train.yaml lists groups and keys
python -m jsc.train resume=PATH [key=value]                a run folder, or a checkpoint in one
"""

import logging
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from jsc.cli.command import check, explained_errors, key_of, last_value, run_hydra
from jsc.cli.resume import resumed_overrides
from jsc.cli.settings import TrainSettings
from jsc.sweep.checks import CheckFirst, advice_on_sweeping
from jsc.sweep.job import run_job
from jsc.sweep.plan import resumed_sweep, swept_keys

log = logging.getLogger(__name__)


def main(config: DictConfig) -> float:
    """One run, or a job of another launcher than jsc's; returns the validation loss, NaN if it diverged."""
    job = HydraConfig.get()
    overrides, folder = list(job.overrides.task), Path(job.runtime.output_dir)
    settings, prepared = check(config, TrainSettings), CheckFirst.take_prepared()
    if job.mode == RunMode.RUN and (advice := advice_on_sweeping(job)) is not None:
        log.warning(advice)
    if prepared is not None and prepared.settings != settings:
        prepared = None
    resume_from = Path(config.resume) if config.resume is not None else None
    varied = swept_keys(folder.parent, job.sweeper.get("params") or {}) or [key_of(o) for o in overrides]
    return run_job(settings, folder, overrides, resume_from, varied, prepared).objective


def entry() -> None:
    """The overrides on the command line, those of a resumed run put in their place, go to Hydra."""
    arguments = sys.argv[1:]
    resume, sweep_resume = (last_value(arguments, key) for key in ("resume", "sweep.resume"))
    with explained_errors("train", []):
        if resume is not None:
            sys.argv[1:] = resumed_overrides(Path(resume), [a for a in arguments if key_of(a) != "resume"])
        elif sweep_resume is not None:
            sys.argv[1:] = resumed_sweep(Path(sweep_resume), [a for a in arguments if key_of(a) != "sweep.resume"])
    run_hydra(main, "train")


if __name__ == "__main__":
    # By its importable name: workers of a sweep are told of jsc.train.main, and __main__ is another module there.
    from jsc import train

    train.entry()
