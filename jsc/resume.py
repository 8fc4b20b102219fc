"""Going on with a run: `resume=PATH` becomes that run's own command, in its own folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from jsc.command import CommandError, key_of, quoted
from jsc.console import flat
from jsc.results import CHECKPOINT_FOLDER, LAST_CHECKPOINT

OVERRIDES_FILE = Path(".hydra", "overrides.yaml")
CONFIG_FILE = Path(".hydra", "config.yaml")


def resumed_overrides(path: Path, further: Sequence[str]) -> list[str]:
    """The overrides that a run was started with, then `further` ones, then where it goes on.

    `path` is a run's folder, to go on from its `last.ckpt`, or a checkpoint in one. Raises CommandError.
    """
    checkpoint = path / CHECKPOINT_FOLDER / LAST_CHECKPOINT if path.is_dir() else path
    folder = path if path.is_dir() else path.absolute().parent.parent
    if not checkpoint.is_file():
        raise CommandError(
            f"resume={path}: there is no {checkpoint}; give a run's folder or a checkpoint in one. "
            "A run that was killed before its first checkpoint is started anew"
        )
    if not (folder / OVERRIDES_FILE).is_file():
        raise CommandError(
            f"resume={path}: {folder} holds no {OVERRIDES_FILE}, so the run's settings are not known; "
            "give a checkpoint that lies in its run's folder"
        )
    if any(word in ("-m", "--multirun") for word in further):
        raise CommandError("resume= goes on with one run; it cannot be swept with -m")
    replaced = {word.partition("=")[0] for word in further} | {"resume"}
    recorded = [str(override) for override in OmegaConf.load(folder / OVERRIDES_FILE)]
    started_with = [o for o in recorded if o.partition("=")[0] not in replaced]
    place = [f"hydra.run.dir={quoted(str(folder))}", f"resume={quoted(str(checkpoint))}"]
    return [*started_with, *further, *place]


def check_unchanged(config: DictConfig, checkpoint: Path) -> None:
    """Refuse to go on with settings that the run did not begin with, unless this command names them.

    The defaults in conf/ may have changed since. Raises CommandError, naming the differences.
    """
    stored = OmegaConf.load(checkpoint.absolute().parent.parent / CONFIG_FILE)
    assert isinstance(stored, DictConfig)
    before, now = (flat(_plain(c)) for c in (stored, config))
    named = {key_of(str(o)) for o in config.hydra.overrides.task}
    changed = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key) and not named & {key, *_sections(key)} and key.partition(".")[0] != "resume"
    ]
    if changed:
        raise CommandError(
            f"resume={checkpoint}: defaults have changed since the run began: {'; '.join(changed)}. "
            "Name the value that you want on the command line."
        )


def _plain(config: DictConfig) -> dict[str, Any]:
    unresolved = OmegaConf.to_container(config, resolve=False)
    assert isinstance(unresolved, dict)
    return {str(key): value for key, value in unresolved.items() if key not in ("hydra", "sweep")}


def _sections(key: str) -> list[str]:
    """`trainer.max_epochs` -> [`trainer`]: a group chosen anew may change all its keys."""
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]
