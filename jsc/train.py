"""Train a network, then test it with its best checkpoint.

python -m jsc.train [group=choice] [key=value] [-m]        conf/train.yaml lists groups and keys
python -m jsc.train resume=PATH [key=value]                a run folder, or a checkpoint in one
"""

import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from jsc.cli import console
from jsc.cli.command import check, default_settings, explained_errors, key_of, run_hydra
from jsc.cli.resume import resumed_overrides
from jsc.cli.settings import TrainSettings
from jsc.errors import CommandError, JobFailed
from jsc.sweep.checks import check_jobs, is_multirun
from jsc.sweep.plan import resumed_words, swept_keys

log = logging.getLogger(__name__)


def main(config: DictConfig) -> float:
    """One run, or one job of a sweep; returns the validation loss for sweepers that search, NaN if it diverged."""
    from jsc.run.training import train

    job = HydraConfig.get()
    overrides = list(job.overrides.task)
    logging.captureWarnings(True)  # into train.log as well
    try:
        settings = check(config, TrainSettings)
        defaults = default_settings("train", TrainSettings)
        log.info(console.settings_table(defaults, settings.model_dump(by_alias=True), overrides))
        result = train(
            settings,
            folder=Path(job.runtime.output_dir),
            command=command_of([word for word in overrides if key_of(word) != "resume"]),
            resume_from=Path(config.resume) if config.resume is not None else None,
            varied=varied_keys(job),
        )
    except Exception as error:
        log.exception("The run failed.")
        raise JobFailed from error
    return result.objective


def varied_keys(job: HydraConf) -> list[str]:
    """What the sweep of a job varies; for a run alone, what its command names."""
    swept = swept_keys(Path(job.runtime.output_dir).parent, job.sweeper.get("params") or {})
    return swept or [key_of(word) for word in job.overrides.task]


def command_of(overrides: Sequence[str]) -> str:
    """What a user types to repeat a run."""
    return shlex.join(["python", "-m", "jsc.train", *overrides])


def given(words: Sequence[str], key: str) -> str | None:
    """The last value that the command line gives a key, if it is not null."""
    values = [word.partition("=")[2].strip("'") for word in words if "=" in word and key_of(word) == key]
    return values[-1] if values and values[-1] != "null" else None


def entry() -> None:
    """The words on the command line, those of a resumed run put in their place, go to Hydra."""
    words = sys.argv[1:]
    resume, sweep_resume = (given(words, key) for key in ("resume", "sweep.resume"))
    with explained_errors("train", []):
        if resume is not None:
            sys.argv[1:] = resumed_overrides(Path(resume), [w for w in words if key_of(w) != "resume"])
        elif sweep_resume is not None:
            sys.argv[1:] = resumed_words(Path(sweep_resume), [w for w in words if key_of(w) != "sweep.resume"])
        elif "sweep.dry_run=true" in words and not is_multirun(words):
            raise CommandError("sweep.dry_run=true shows the jobs of a sweep: add -m and values to sweep over")
    run_hydra(main, "train", check_jobs=check_jobs)


if __name__ == "__main__":
    # By its importable name: workers of a sweep are told to run jsc.train.main, and __main__ is another module there.
    from jsc import train

    train.entry()
