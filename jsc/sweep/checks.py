"""What can be known to be wrong with a run or a sweep, found before there is a folder."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.conf import HydraConf
from hydra.core.utils import env_override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from jsc.cli import console
from jsc.cli.command import carried_out_of_a_callback, check, check_added, command_of, key_of, quoted
from jsc.cli.imports import lean_imports
from jsc.cli.resume import check_unchanged
from jsc.cli.settings import TrainSettings
from jsc.errors import CommandError, JobFailed
from jsc.results import METRICS_FILE, RESULT_FILE
from jsc.sweep.fork_server import Death, ask, may_have_gpus
from jsc.sweep.prefix import draws_nothing

if TYPE_CHECKING:
    from jsc.run.assembly import Prepared

OF_A_SWEEP = ("dry_run", "resume", "part")  # what jsc's launcher alone can do


class CheckFirst(Callback):
    """`hydra.callbacks.jsc`: Hydra calls it when it has composed a run, or a sweep, and before it makes a folder."""

    _prepared: "ClassVar[Prepared | None]" = None

    @classmethod
    def take_prepared(cls) -> "Prepared | None":
        """The run that Hydra starts next, if it is one of this process."""
        prepared, cls._prepared = cls._prepared, None
        return prepared

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """What is wrong with the run is raised from here."""
        with carried_out_of_a_callback():
            CheckFirst._prepared = prepare_run(config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """The jobs are checked when they are known."""
        with carried_out_of_a_callback():
            check_sweep(config)


def prepare_run(config: DictConfig) -> "Prepared":
    """Check a run and build what it needs.

    Raises CommandError, pydantic's ValidationError, or JobFailed if that kills the process that tries it first.
    """
    for key in OF_A_SWEEP:
        if config.sweep[key] not in (None, False):
            raise CommandError(f"sweep.{key}={config.sweep[key]} is of a sweep: add -m and values to sweep over")
    check_added("train", config.hydra.overrides.task, config)
    settings = check(config, TrainSettings)
    open_keys = left_open(config.hydra)
    if open_keys and config.hydra.sweeper._target_.startswith("hydra_plugins.jsc_search."):
        raise CommandError(f"hparams_search: one run cannot choose {', '.join(open_keys)}: add -m to search")
    if config.resume is not None:
        check_unchanged(config, settings, Path(config.resume))
    else:
        check_folder(Path(config.hydra.run.dir))
    with lean_imports():
        from jsc.run.assembly import prepare  # loads torch, which takes seconds: a misspelt key is answered before that
    with env_override(config.hydra.job.env_set):
        if settings.plugins:  # code that may end the process that runs it
            for answer in ask(rehearsed, [settings], None if may_have_gpus() else get_context("fork")):
                if isinstance(answer, Death):
                    print(f"The network cannot be built: {died(settings, answer)}", file=sys.stderr)
                    raise JobFailed
        with _of_the_command():
            return prepare(settings, Path(os.path.abspath(config.hydra.run.dir)))  # noqa: PTH100  # as Hydra does


@contextmanager
def _of_the_command() -> Iterator[None]:
    """Within this context a ValueError is one of the command, whose message is all that its user needs."""
    try:
        yield
    except CommandError:
        raise
    except ValueError as error:
        raise CommandError(str(error)) from error


def died(settings: TrainSettings, death: Death) -> str:
    """What is said of a network that kills the process that builds it."""
    return f"model {settings.model.name!r} of {', '.join(settings.plugins)}: {death.how}"


def check_sweep(config: DictConfig) -> None:
    """`sweep.resume` and such are of jsc's launcher. Raises CommandError where they cannot act."""
    launcher = str(config.hydra.launcher._target_)
    asked = [f"sweep.{key}={config.sweep[key]}" for key in OF_A_SWEEP if config.sweep[key] not in (None, False)]
    if asked and not launcher.startswith("hydra_plugins.jsc_launcher."):
        raise CommandError(f"{asked[0]}: {launcher} does not know it; use hydra/launcher=jsc")
    if config.sweep.part is not None and config.sweep.resume is None:
        raise CommandError(f"sweep.part={config.sweep.part}: of which sweep? Give its folder, sweep.resume=FOLDER")


def left_open(hydra: HydraConf) -> dict[str, str]:
    """What an experiment or a search varies, where the command gives no value of its own."""
    told = {key_of(override) for override in hydra.overrides.task}
    return {str(k): str(v) for k, v in (hydra.sweeper.get("params") or {}).items() if str(k) not in told}


def advice_on_sweeping(hydra: HydraConf) -> str | None:
    """What is said of one run of an experiment that sweeps; None of another's."""
    varied = left_open(hydra)
    if not varied:
        return None
    command = command_of(["-m", *hydra.overrides.task])
    values = ", ".join(f"{key}={value}" for key, value in varied.items())
    return f"This is one run, at the default {' and '.join(varied)}. To sweep over {values}: {command}"


def check_folder(folder: Path) -> None:
    """Raises CommandError if a run's folder holds another, whose records would be lost or mixed with its own."""
    if any((folder / name).exists() for name in (RESULT_FILE, METRICS_FILE)):
        raise CommandError(
            f"hydra.run.dir={folder}: it holds a run already. To go on with that give resume={quoted(str(folder))}, "
            "else another folder"
        )


def rehearsed(settings: TrainSettings) -> bool:
    """Build all that a run needs; returns whether its layers draw no numbers in sequence. Raises as `prepare` does."""
    from jsc.run.assembly import prepare

    return draws_nothing(prepare(settings, Path()).task.model)


def rehearse_kinds(settings: Sequence[TrainSettings], known: dict[str, bool | Death]) -> list[bool | Death]:
    """What `rehearsed` says of each; one of each kind is rehearsed, in a process that may die of it.

    `known`: by kind, what was found before. Raises CommandError.
    """
    kinds = [kind_of(one) for one in settings]
    new = {kind: one for kind, one in zip(kinds, settings, strict=True) if kind not in known}
    here = may_have_gpus() and not any(one.plugins for one in new.values())  # a fork cannot use a GPU
    answers = map(_rehearsed_here, new.values()) if here else ask(rehearsed, list(new.values()))
    progress = f"{{}} of {len(new):,} kinds of jobs checked"
    known |= zip(new, console.counted(answers, progress, _say), strict=True)
    return [known[kind] for kind in kinds]


def _rehearsed_here(settings: TrainSettings) -> bool:
    with _of_the_command():
        return rehearsed(settings)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # no log is set up yet


def kind_of(settings: TrainSettings) -> str:
    """The same for runs of which all can be built if one can: they differ in numbers that pydantic has checked."""
    plain = settings.model_dump(by_alias=True)
    del plain["seed"], plain["optimizer"]["weight_decay"]
    if settings.scheduler.target is None:  # which may make a rate of another one negative
        del plain["optimizer"]["lr"]
    return repr(plain)
