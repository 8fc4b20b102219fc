import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from jsc.command import check, compose
from jsc.results import RunResult
from jsc.settings import TrainSettings

torch.set_num_threads(1)  # tests run side by side: threads of several would wait for each other's cores

QUICK = ("trainer.max_epochs=2", "trainer.limit_train_batches=30", "dataset.batch_size=64")


@pytest.fixture(autouse=True)
def a_process_as_it_was() -> Iterator[None]:
    """A run sets torch's threads and loggers' levels; the next test starts without."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.NOTSET)


def settings_of(*overrides: str) -> TrainSettings:
    return check(compose("train", list(overrides)), TrainSettings)


@pytest.fixture
def quick_run(tmp_path: Path) -> Callable[..., RunResult]:
    """Train for two short epochs with further overrides, in a folder of this test's."""
    from jsc.training import train

    def run(*overrides: str, folder: Path = tmp_path / "run", resume_from: Path | None = None) -> RunResult:
        folder.mkdir(exist_ok=True, parents=True)
        settings = settings_of(*QUICK, *overrides)
        return train(settings, folder=folder, command="python -m jsc.train", resume_from=resume_from)

    return run
