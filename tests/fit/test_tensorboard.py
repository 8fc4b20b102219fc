import struct
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from jsc.fit.tensorboard import RunLogger


@pytest.mark.parametrize(("prefix", "start"), [("", ""), ("mine", "mine-")])
def test_the_values_of_a_step_are_one_event(tmp_path: Path, prefix: str, start: str) -> None:
    logger = RunLogger(tmp_path, "", "", prefix=prefix)
    logger.log_metrics({"loss": 0.1, "accuracy": torch.tensor(0.5)}, step=49)
    logger.log_metrics({"loss": 0.2}, step=99)
    logger.close()
    [path] = tmp_path.glob("events.out.tfevents.*")
    events = [event for event in EventFileLoader(str(path)).Load() if event.HasField("summary")]
    read = [(event.step, {v.tag: v.tensor.float_val[0] for v in event.summary.value}) for event in events]
    assert read == [
        (49, {f"{start}loss": as_float32(0.1), f"{start}accuracy": 0.5}),
        (99, {f"{start}loss": as_float32(0.2)}),
    ]


def as_float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path, "", "")
    with pytest.raises(TypeError, match="float"):
        logger.log_metrics({"loss": {"a": 1.0}}, step=0)  # type: ignore[dict-item]
    logger.close()


def test_a_run_has_one_file_until_all_is_logged(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path)
    logger.log_metrics({"loss": 0.1}, step=0)
    logger.experiment.add_histogram("weights", torch.arange(3.0), 0)
    logger.finalize("success")
    logger.log_metrics({"test_loss": 0.2}, step=0)
    logger.close()
    [path] = tmp_path.glob("events.out.tfevents.*")
    tags = [value.tag for event in EventFileLoader(str(path)).Load() for value in event.summary.value]
    assert tags == ["loss", "weights", "test_loss"]


def test_what_comes_after_a_callback_has_closed_the_file_is_kept(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path, prefix="p")
    logger.log_metrics({"loss": 0.1}, step=0)
    logger.experiment.close()
    logger.log_metrics({"test_loss": 0.2, "test_acc": 0.3}, step=7)
    logger.log_metrics({"late": 0.4}, step=8)
    logger.close()
    files = list(tmp_path.glob("events.out.tfevents.*"))
    events = [event for file in files for event in EventFileLoader(str(file)).Load()]
    read = {(value.tag, event.step) for event in events for value in event.summary.value}
    assert read == {("p-loss", 0), ("p-test_loss", 7), ("p-test_acc", 7), ("p-late", 8)}


def test_a_checkpoints_points_are_on_the_disk(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path)
    logger.log_metrics({"loss": 0.1}, step=0)
    logger.save()
    assert len(points(tmp_path)) == 1
    logger.close()


def points(folder: Path) -> list[tuple[int, str]]:
    [path] = folder.glob("events.out.tfevents.*")
    return [(e.step, str(e.summary)) for e in EventFileLoader(str(path)).Load() if e.HasField("summary")]
