"""What a run's folder says of the run: its network and its data set, from the configuration that Hydra left there."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jsc.cli.resume import CONFIG_FILE
from jsc.cli.settings import DatasetSettings


def recorded_dataset(run: Path) -> DatasetSettings | None:
    """The data set that a run was trained on; None if the folder is no run's."""
    config = _config(run)
    return (
        None if config is None else DatasetSettings.model_validate(OmegaConf.to_container(config.dataset, resolve=True))
    )


def recorded_model(run: Path) -> str | None:
    """The name of a run's network; None if the folder is no run's."""
    config = _config(run)
    return None if config is None else str(config.model.name)


def _config(run: Path) -> DictConfig | None:
    if not (run / CONFIG_FILE).is_file():
        return None
    config = OmegaConf.load(run / CONFIG_FILE)
    assert isinstance(config, DictConfig)
    return config
