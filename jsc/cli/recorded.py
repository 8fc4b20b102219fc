"""What a run's folder says of its data set, from the configuration that Hydra left there."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jsc.cli.command import own_dataset
from jsc.cli.resume import CONFIG_FILE
from jsc.cli.settings import DatasetSettings
from jsc.cli.trust import check_recorded_dataset


def recorded_dataset(run: Path) -> DatasetSettings | None:
    """The data set that a run was trained on; None if the folder is no run's.

    Raises CommandError where it is none that a file alone may name (`jsc.cli.trust`).
    """
    config = _config(run)
    if config is None:
        return None
    section = DatasetSettings.model_validate(OmegaConf.to_container(config.dataset, resolve=True))
    check_recorded_dataset(section, own_dataset(section.name), [], run / CONFIG_FILE)
    return section


def _config(run: Path) -> DictConfig | None:
    if not (run / CONFIG_FILE).is_file():
        return None
    config = OmegaConf.load(run / CONFIG_FILE)
    assert isinstance(config, DictConfig)
    return config
