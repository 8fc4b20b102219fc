"""Going on with a run: `resume=PATH` becomes that run's own command, in its own folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from jsc.cli.command import plain_value, quoted
from jsc.cli.settings import MARKS, TrainSettings, changes_outcome, flat
from jsc.cli.trust import check_recorded
from jsc.errors import CommandError
from jsc.results import CHECKPOINT_FOLDER, LAST_CHECKPOINT, METRICS_FILE, read_metrics

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
    if any(argument in ("-m", "--multirun") for argument in further):
        raise CommandError("resume= goes on with one run; it cannot be swept with -m")
    replaced = {argument.partition("=")[0] for argument in further} | {"resume"}
    recorded = [str(override) for override in OmegaConf.load(folder / OVERRIDES_FILE)]
    recorded = check_recorded(recorded, further, folder / OVERRIDES_FILE)
    started_with = [o for o in recorded if o.partition("=")[0] not in replaced]
    place = [f"hydra.run.dir={quoted(str(folder))}", f"resume={quoted(str(checkpoint))}"]
    return [*started_with, *further, *place]


def check_unchanged(config: DictConfig, settings: TrainSettings, checkpoint: Path) -> None:
    """Refuse to go on with other settings than the run began with: its record could name one of them only.

    They may be overrides of this command, or defaults in conf/ that have changed since. Raises CommandError.
    """
    folder = checkpoint.absolute().parent.parent
    stored = OmegaConf.load(folder / CONFIG_FILE)
    assert isinstance(stored, DictConfig)
    before, now = (_told(c) for c in (stored, config))
    changed = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in dict.fromkeys([*before, *now])
        if changes_outcome(key) and before.get(key) != now.get(key)
    ]
    if changed:
        may_change = ", ".join(key for key in MARKS if not changes_outcome(key))
        raise CommandError(
            f"resume={checkpoint}: the run began with other settings: {'; '.join(changed)}. It goes on with its own, "
            f"but for {may_change}. For others start a new run; for a changed default, name its old value"
        )
    if checkpoint.name == LAST_CHECKPOINT and (folder / METRICS_FILE).is_file():
        num_epochs = len(read_metrics(folder))
        if settings.trainer.max_epochs < num_epochs:
            raise CommandError(
                f"resume={checkpoint}: trainer.max_epochs={settings.trainer.max_epochs}, but {num_epochs} epochs have "
                "been run: give as many or more"
            )


def _told(config: DictConfig) -> dict[str, Any]:
    """A run's settings by their dotted keys; of a schedule that is told the fit's length, that too."""
    plain = {key: plain_value(config, key) for key in TrainSettings.model_fields if key in config}
    if plain["scheduler"].get("needs_total_steps"):
        plain["scheduler"]["length"] = plain["trainer"]["max_epochs"]
    return flat(plain)
