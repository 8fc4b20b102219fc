"""TensorBoard's HParams page: a run's settings and the metrics that it will have, written into its own event file.

`SummaryWriter.add_hparams` would make a run of its own for them, and only at the end. The page takes its columns from
any one run of those it is shown, and begins with its metrics and with five settings, those marked as differing first.
"""

from collections.abc import Mapping, Sequence

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from torch.utils.tensorboard.summary import hparams

from jsc.cli.settings import TrainSettings, is_shown, values_where

METRICS = ("val_loss_epoch", "val_acc_epoch", "test_acc_epoch", "jets_per_second")

Scalar = str | int | float

_NUM_SHOWN = 5
_USUAL = (
    "optimizer.lr", "dataset.batch_size", "trainer.max_epochs", "model.name", "seed",
    "optimizer.name", "optimizer.weight_decay", "scheduler.name", "dataset.name",
)  # fmt: skip


def hyper_parameters(settings: TrainSettings) -> dict[str, Scalar]:
    """Scalars by their dotted keys, `true` and `false` as words.

    None is left out: it would turn a column of numbers into one of words.
    """
    values = {key: value for key, value in values_where(is_shown, settings).items() if isinstance(value, Scalar)}
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in sorted(values.items())}


def columns_of(values: Mapping[str, Scalar], varied: Sequence[str]) -> list[str]:
    """The settings that the page has columns for: those that vary (a group of them by its name), then the usual ones.

    Twenty more that no sweep touches would bury them.
    """
    names = [name for key in varied for name in (key, f"{key}.name")]
    return [name for name in dict.fromkeys([*names, *_USUAL]) if name in values]


def register_run(logger: Logger, values: Mapping[str, Scalar], varied: Sequence[str]) -> None:
    """Announce a run to the HParams page, at its start; loggers other than TensorBoard's have none."""
    _, start, _ = hparams(dict(values), {})  # type: ignore[no-untyped-call]  # torch's comes without types
    _write(logger, _experiment(values, columns_of(values, varied)))
    _write(logger, start)


def register_end(logger: Logger) -> None:
    """Tell the page that a run ended well; it cannot take that back, so no other end is told."""
    _, _, end = hparams({}, {})  # type: ignore[no-untyped-call]
    _write(logger, end)


def _write(logger: Logger, summary: Summary) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.file_writer.add_summary(summary)


def _experiment(values: Mapping[str, Scalar], columns: Sequence[str]) -> Summary:
    """The page's columns; the builders of torch and TensorBoard mark none as differing."""
    kinds = {name: "STRING" if isinstance(values[name], str) else "FLOAT64" for name in columns}
    experiment = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(name=name, type=api_pb2.DataType.Value(f"DATA_TYPE_{kind}"), differs=i < _NUM_SHOWN)
            for i, (name, kind) in enumerate(kinds.items())
        ],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in METRICS],
    )
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(experiment=experiment))
    return Summary(value=[Summary.Value(tag=metadata.EXPERIMENT_TAG, metadata=about, tensor=metadata.NULL_TENSOR)])
