"""TensorBoard's event file, at the pace of the fused engine."""

from collections.abc import Mapping

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.compat.proto.summary_pb2 import Summary


class EventFileLogger(TensorBoardLogger):
    """Lightning's logger, but all values of a step make one event.

    Lightning writes an event a value, which for a tiny network takes longer than the optimizer steps in between.
    """

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars, each under its name. Raises TypeError for a value that is no number."""
        prefix = f"{self._prefix}{self.LOGGER_JOIN_CHAR}" if self._prefix else ""
        values = [Summary.Value(tag=f"{prefix}{name}", simple_value=float(value)) for name, value in metrics.items()]
        self.experiment._get_file_writer().add_summary(Summary(value=values), step)
