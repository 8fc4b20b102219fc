"""TensorBoard's event file, at the pace of the fused engine.

TensorBoard's own writer makes an event of each value, passes it to a thread and takes its checksum byte by byte in
Python, which for a tiny network takes longer than the optimizer steps in between.
"""

import itertools
import os
import platform
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import google_crc32c
from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event
from torch.utils.tensorboard import FileWriter, SummaryWriter

_numbers = itertools.count()  # of the files of this process


class EventFile:
    """Appends events to a file of its own in `folder`, those of `flush_secs` at a time."""

    def __init__(self, folder: Path, flush_secs: float) -> None:
        self._folder = folder
        # "jsc" tells it from a file of TensorBoard's own writer, which would empty one of its name.
        number = f"jsc{next(_numbers)}"
        self._path = folder / f"events.out.tfevents.{time.time():.0f}.{platform.node()}.{os.getpid()}.{number}"
        self._flush_secs = flush_secs
        self._waiting: list[bytes] = []
        self._due = 0.0
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add_event(self, event: Event) -> None:
        self.add_serialized([event.SerializeToString()])

    def add_serialized(self, events: Iterable[bytes]) -> None:
        for event in events:
            self._waiting += (_header(len(event)), event, _checksum(event))
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        with self._path.open("ab") as file:
            file.write(b"".join(self._waiting))
        self._waiting.clear()
        self._due = time.monotonic() + self._flush_secs

    def close(self) -> None:
        """Nothing is kept open: events may still come."""
        self.flush()

    def get_logdir(self) -> str:
        return str(self._folder)


@cache  # a run's events have few lengths
def _header(num_bytes: int) -> bytes:
    length = struct.pack("<Q", num_bytes)
    return length + _checksum(length)


def _checksum(data: bytes) -> bytes:
    """As the TFRecord format has it: CRC-32C, rotated by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


class _FileWriter(FileWriter):
    def __init__(self, events: EventFile) -> None:
        self.event_writer = events


class _RunWriter(SummaryWriter):
    """torch's writer of figures, histograms and all else, over an EventFile."""

    file_writer: FileWriter | None  # type: ignore[assignment]  # torch infers None
    all_writers: dict[str, FileWriter] | None  # type: ignore[assignment]

    def __init__(self, folder: Path, flush_secs: float) -> None:
        self._events = EventFile(folder, flush_secs)
        super().__init__(log_dir=str(folder))

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:  # as at first, and after close()
            self.file_writer = _FileWriter(self._events)
            self.all_writers = {self._events.get_logdir(): self.file_writer}
        return self.file_writer


class EventFileLogger(TensorBoardLogger):
    """Lightning's logger, but all values of a step make one event. `flush_secs`: until TensorBoard sees a point."""

    def __init__(
        self, save_dir: str | Path, name: str = "", version: str = "", *, flush_secs: float = 1.0, **options: Any
    ) -> None:
        super().__init__(save_dir, name, version, **options)
        self._flush_secs = flush_secs

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """For what is no scalar: `logger.experiment.add_histogram(...)`."""
        if self._experiment is None:
            folder = Path(self.log_dir)
            folder.mkdir(parents=True, exist_ok=True)
            self._experiment = _RunWriter(folder, self._flush_secs)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars, each under its name. Raises TypeError for a value that is no number."""
        self.log_points({name: (float(value),) for name, value in metrics.items()}, (step,))

    @rank_zero_only
    def log_points(self, columns: Mapping[str, Sequence[float]], steps: Sequence[int | None]) -> None:
        """Write the scalars of many steps: a column for each name, of as many numbers as there are steps."""
        prefix = f"{self._prefix}{self.LOGGER_JOIN_CHAR}" if self._prefix else ""
        event = Event(wall_time=time.time())
        values = [event.summary.value.add(tag=prefix + name) for name in columns]
        events = []
        for step, *numbers in zip(steps, *columns.values(), strict=True):
            event.step = step or 0
            for value, number in zip(values, numbers, strict=True):
                value.simple_value = number
            events.append(event.SerializeToString())
        self.experiment._get_file_writer().event_writer.add_serialized(events)
