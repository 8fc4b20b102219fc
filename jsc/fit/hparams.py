"""TensorBoard's HParams page: a run's settings and the metrics that it will have, written into its own event file.

`SummaryWriter.add_hparams` would make a run of its own for them, and only at the end. The page takes its columns from
any one run of those it is shown, and begins with its metrics and with five settings, those marked as differing first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from jsc.cli.settings import TrainSettings, is_shown, values_where

METRICS = ("val_loss_epoch", "val_acc_epoch", "test_acc_epoch", "jets_per_second")

Scalar = str | int | float | bool

_NUM_SHOWN = 5
_USUAL = (
    "optimizer.lr", "dataset.batch_size", "trainer.max_epochs", "model.name", "seed",
    "optimizer.name", "optimizer.weight_decay", "scheduler.name", "dataset.name",
)  # fmt: skip
_FIELDS = {str: "string_value", bool: "bool_value", int: "number_value", float: "number_value"}


def hyper_parameters(settings: TrainSettings) -> dict[str, Scalar]:
    """Scalars by their dotted keys. None is left out: it would turn a column of numbers into one of words."""
    values = values_where(is_shown, settings)
    return {key: value for key, value in sorted(values.items()) if isinstance(value, Scalar)}


def columns_of(values: Mapping[str, Scalar], varied: Sequence[str]) -> list[str]:
    """The settings that the page has columns for: those that vary (a group of them by its name), then the usual ones.

    Twenty more that no sweep touches would bury them.
    """
    names = [name for key in varied for name in (key, f"{key}.name")]
    return [name for name in dict.fromkeys([*names, *_USUAL]) if name in values]


def register_run(logger: Logger, values: Mapping[str, Scalar], varied: Sequence[str]) -> None:
    """Announce a run to the HParams page, at its start; loggers other than TensorBoard's have none."""
    columns = [
        api_pb2.HParamInfo(name=name, type=_type_of(values[name]), differs=i < _NUM_SHOWN)
        for i, name in enumerate(columns_of(values, varied))
    ]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in METRICS]
    start = plugin_data_pb2.SessionStartInfo()
    for key, value in values.items():
        setattr(start.hparams[key], _FIELDS[type(value)], value)
    _write(logger, metadata.EXPERIMENT_TAG, experiment=api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics))
    _write(logger, metadata.SESSION_START_INFO_TAG, session_start_info=start)


def register_end(logger: Logger) -> None:
    """Tell the page that a run ended well; it cannot take that back, so no other end is told."""
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS)
    _write(logger, metadata.SESSION_END_INFO_TAG, session_end_info=end)


def _type_of(value: Scalar) -> Any:
    if isinstance(value, str):
        return api_pb2.DATA_TYPE_STRING
    return api_pb2.DATA_TYPE_BOOL if isinstance(value, bool) else api_pb2.DATA_TYPE_FLOAT64


def _write(logger: Logger, tag: str, **data: Any) -> None:
    if isinstance(logger, TensorBoardLogger):
        about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**data))
        summary = Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])
        logger.experiment._get_file_writer().add_summary(summary)
