"""Train a network, then test it with its best checkpoint.

python -m jsc.train [group=choice] [key=value] [-m]        conf/train.yaml lists groups and keys
python -m jsc.train resume=PATH [key=value]                a run folder, or a checkpoint in one
"""

import logging
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_class
from omegaconf import DictConfig

from jsc import console
from jsc.command import CommandError, JobFailed, check, default_settings, explained_errors, key_of, quoted, run_hydra
from jsc.imports import lean_imports
from jsc.prefix import networks_that_draw_nothing, remember
from jsc.results import METRICS_FILE, RESULT_FILE
from jsc.resume import check_unchanged, resumed_overrides
from jsc.settings import TrainSettings
from jsc.sweep import resumed_words, swept_keys

log = logging.getLogger(__name__)


def main(config: DictConfig) -> float:
    """One run, or one job of a sweep; returns the validation loss for sweepers that search, NaN if it diverged."""
    from jsc.training import train

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


def check_jobs(configs: Iterable[DictConfig]) -> None:
    """Find what is wrong with a run, or with a sweep's jobs, before there is a folder.

    A launcher may offer `get_ready`, which is called before the jobs are checked, for that takes as long as getting
    ready to run them. What it returns, if anything, calls what imports torch in another process.
    """
    settings: list[TrainSettings] = []
    call: Callable[..., dict[str, bool]] | None = None
    for config in console.counted(configs, "{} jobs read", _say):
        settings.append(check(config, TrainSettings))
        check_launcher(config)
        check_search(config)
        if config.resume is not None:
            check_unchanged(config, settings[-1], Path(config.resume))
        elif not is_multirun(sys.argv):
            check_folder(Path(config.hydra.run.dir))
        if len(settings) == 1 and is_multirun(sys.argv) and not config.sweep.dry_run:
            launcher = get_class(config.hydra.launcher._target_)
            call = getattr(launcher, "get_ready", lambda: None)()
    remember(rehearse_all(settings) if call is None else call(rehearse_all, settings))


def rehearse_all(settings: Sequence[TrainSettings]) -> dict[str, bool]:
    """Which networks draw nothing. Raises what `jsc.assembly.rehearse` does for the first that cannot be built."""
    with lean_imports():
        from jsc.assembly import rehearse  # loads torch, which takes seconds: a misspelt word is answered before that
    for one in console.counted(settings, f"{{}} of {len(settings):,} jobs checked", _say):
        rehearse(one)
    return networks_that_draw_nothing(settings)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # no log is set up yet


def check_folder(folder: Path) -> None:
    """Raises CommandError if a run's folder holds another, whose records would be lost or mixed with its own."""
    if any((folder / name).exists() for name in (RESULT_FILE, METRICS_FILE)):
        raise CommandError(
            f"hydra.run.dir={folder}: it holds a run already. To go on with that give resume={quoted(str(folder))}, "
            "else another folder"
        )


def check_search(config: DictConfig) -> None:
    """Without -m, a search has nobody to choose for it. Raises CommandError."""
    sweeper, words = config.hydra.sweeper, list(config.hydra.overrides.task)
    told = {word.partition("=")[0] for word in words}
    open_keys = [key for key in sweeper.get("params") or {} if key not in told]
    if sweeper._target_.startswith("hydra_plugins.jsc_search.") and open_keys:
        raise CommandError(f"hparams_search: one run cannot choose {', '.join(open_keys)}: add -m to search")


def check_launcher(config: DictConfig) -> None:
    """`sweep.resume` and `sweep.dry_run` are of jsc's launcher. Raises CommandError where they cannot act."""
    launcher = str(config.hydra.launcher._target_)
    asked = [f"sweep.{k}={config.sweep[k]}" for k in ("resume", "dry_run") if config.sweep[k] not in (None, False)]
    if asked and not launcher.startswith("hydra_plugins.jsc_launcher."):
        raise CommandError(f"{asked[0]}: {launcher} does not know it; use hydra/launcher=jsc")


def given(words: Sequence[str], key: str) -> str | None:
    """The last value that the command line gives a key, if it is not null."""
    values = [word.partition("=")[2].strip("'") for word in words if "=" in word and key_of(word) == key]
    return values[-1] if values and values[-1] != "null" else None


def is_multirun(words: Sequence[str]) -> bool:
    """Whether Hydra will run a sweep."""
    return not {"-m", "--multirun"}.isdisjoint(words)


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
