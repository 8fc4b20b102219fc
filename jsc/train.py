"""Train a network, then test it with its best checkpoint.

python -m jsc.train [group=choice] [key=value] [-m]        conf/train.yaml lists groups and keys
python -m jsc.train resume=PATH [key=value]                a run folder, or a checkpoint in one
"""

import logging
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from jsc import console
from jsc.command import JobFailed, check, compose, explained_errors, run_hydra
from jsc.resume import check_unchanged, resumed_overrides
from jsc.settings import TrainSettings

log = logging.getLogger(__name__)


def main(config: DictConfig) -> float | None:
    """One run, or one job of a sweep; returns the validation loss for sweepers that search."""
    from jsc.training import train

    job = HydraConfig.get()
    overrides = list(job.overrides.task)
    logging.captureWarnings(True)  # into train.log as well
    try:
        settings = check(config, TrainSettings)
        log.info(console.settings_table(default_settings(), settings.model_dump(by_alias=True), overrides))
        result = train(
            settings,
            folder=Path(job.runtime.output_dir),
            command=shlex.join(["python", "-m", "jsc.train", *overrides]),
            resume_from=Path(config.resume) if config.resume is not None else None,
        )
    except Exception as error:
        log.exception("The run failed.")
        raise JobFailed from error
    return result.val_loss


@cache
def default_settings() -> dict[str, Any]:
    """What a run without any override is told."""
    return check(compose("train", []), TrainSettings).model_dump(by_alias=True)


def check_job(config: DictConfig) -> None:
    """Find what is wrong with a job before it has a folder."""
    settings = check(config, TrainSettings)
    from jsc.assembly import rehearse  # loads torch, which takes seconds: a misspelt word is answered before that

    rehearse(settings)
    if config.resume is not None:
        check_unchanged(config, Path(config.resume))


def entry() -> None:
    """The words on the command line, those of a resumed run put in their place, go to Hydra."""
    words = sys.argv[1:]
    resume = [w.partition("=")[2] for w in words if w.startswith("resume=")]
    with explained_errors("train", []):
        if resume and resume[-1] != "null":
            sys.argv[1:] = resumed_overrides(Path(resume[-1]), [w for w in words if not w.startswith("resume=")])
    run_hydra(main, "train", check_job=check_job)


if __name__ == "__main__":
    entry()
