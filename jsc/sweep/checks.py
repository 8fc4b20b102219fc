"""What can be known to be wrong with a run or a sweep, found before there is a folder."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hydra.utils import get_class
from omegaconf import DictConfig

from jsc.cli import console
from jsc.cli.command import check, quoted
from jsc.cli.imports import lean_imports
from jsc.cli.resume import check_unchanged
from jsc.cli.settings import TrainSettings
from jsc.errors import CommandError
from jsc.results import METRICS_FILE, RESULT_FILE
from jsc.sweep.prefix import networks_that_draw_nothing, remember


def check_jobs(configs: Iterable[DictConfig]) -> None:
    """Find what is wrong with a run, or with a sweep's jobs, before there is a folder.

    A launcher may offer `get_ready`, which is called before the jobs are checked, for that takes as long as getting
    ready to run them. What it returns, if anything, calls what imports torch in another process. With its
    `jobs_run_elsewhere` a job's GPUs need not be here.
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
        launcher = get_class(config.hydra.launcher._target_)
        if is_multirun(sys.argv) and getattr(launcher, "jobs_run_elsewhere", False):
            settings[-1] = _without_gpus(settings[-1])
        if len(settings) == 1 and is_multirun(sys.argv) and not config.sweep.dry_run:
            call = getattr(launcher, "get_ready", lambda: None)()
    remember(rehearse_all(settings) if call is None else call(rehearse_all, settings))


def _without_gpus(settings: TrainSettings) -> TrainSettings:
    """For a rehearsal on a login node."""
    if settings.trainer.accelerator != "gpu":
        return settings
    trainer = settings.trainer.model_copy(update={"accelerator": "auto"})
    return settings.model_copy(update={"trainer": trainer})


def rehearse_all(settings: Sequence[TrainSettings]) -> dict[str, bool]:
    """Which networks draw nothing. Raises what `jsc.run.assembly.rehearse` does for the first that cannot be built."""
    with lean_imports():
        from jsc.run.assembly import (
            rehearse,  # loads torch, which takes seconds: a misspelt word is answered before that
        )
    known: set[str] = set()
    for one in console.counted(settings, f"{{}} of {len(settings):,} jobs checked", _say):
        rehearse(one, known)
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


def is_multirun(words: Sequence[str]) -> bool:
    """Whether Hydra will run a sweep."""
    return not {"-m", "--multirun"}.isdisjoint(words)
