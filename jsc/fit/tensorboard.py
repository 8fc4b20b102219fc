"""TensorBoard's event file of a run: one file, in which all values of an optimizer step are one event."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.compat.proto.summary_pb2 import Summary


class RunLogger(TensorBoardLogger):
    """Lightning's logger for a run, which has points to log when its fit has ended: its test scores.

    `options` are those of Lightning's logger, and SummaryWriter's.
    """

    def __init__(
        self, save_dir: str | Path, name: str = "", version: str = "", *, prefix: str = "", **options: Any
    ) -> None:
        super().__init__(save_dir, name, version, prefix=prefix, **options)
        self._start = f"{prefix}{self.LOGGER_JOIN_CHAR}" if prefix else ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars, each under its name. Raises TypeError for a value that is no number."""
        values = [Summary.Value(tag=self._start + tag, simple_value=float(value)) for tag, value in metrics.items()]
        writer = self.experiment.file_writer
        if writer is None:  # a callback closed it; this opens another
            super().log_metrics(metrics, step)
        else:
            writer.add_summary(Summary(value=values), step or 0)

    @rank_zero_only
    def save(self) -> None:
        """Bring what was logged to the disk. Lightning's would write an empty hparams.yaml as well."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """At a fit's end, when the test is still to come; `close` ends the file."""
        self.save()

    @rank_zero_only
    def close(self) -> None:
        """End the file, when all is logged."""
        self.experiment.close()
