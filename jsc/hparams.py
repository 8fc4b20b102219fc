"""TensorBoard's HParams page: a run's settings and the metrics that it will have, written into its own event file.

`SummaryWriter.add_hparams` would make a run of its own for them, and only at the end.
"""

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from jsc.console import flat
from jsc.settings import TrainSettings

METRICS = ("val_loss_epoch", "val_acc_epoch", "test_acc_epoch", "jets_per_second")

_LEFT_OUT = ("callbacks.", "logger.", "dataset.path", "dataset.md5", "dataset.url", "trainer.log_every_n_steps")


def hyper_parameters(settings: TrainSettings) -> dict[str, str | int | float | bool]:
    """Scalars by their dotted keys. None is left out: it would turn a column of numbers into one of words."""
    scalars = {key: value for key, value in flat(settings.model_dump(by_alias=True)).items() if _is_shown(key, value)}
    return dict(sorted(scalars.items()))


def _is_shown(key: str, value: Any) -> bool:
    is_machinery = key.startswith(_LEFT_OUT) or key.rpartition(".")[2] in ("_target_", "_partial_")
    return isinstance(value, (str, int, float, bool)) and not is_machinery


def register_run(logger: Logger, values: Mapping[str, str | int | float | bool]) -> None:
    """Announce a run to the HParams page, at its start; loggers other than TensorBoard's have none."""
    if not isinstance(logger, TensorBoardLogger):
        return
    make: Any = hparams  # torch leaves it untyped
    experiment, session_start, _ = make(dict(values), dict.fromkeys(METRICS, 0.0))
    for summary in (experiment, session_start):
        logger.experiment._get_file_writer().add_summary(summary)
