"""What is done once in the process that workers are forks of, for all of them.

A rehearsal of the default run loads what the first job of each would else load for itself.
"""

import logging
from contextlib import suppress
from pathlib import Path

from jsc.cli.imports import lean_imports

with lean_imports():
    import torch

    import jsc.run.training
    import jsc.sweep.worker  # noqa: F401
    from jsc.cli.command import default_settings
    from jsc.cli.settings import TrainSettings
    from jsc.datasets.epoch_order import EpochOrder
    from jsc.engine import warm_up
    from jsc.run.assembly import prepare

    engine_log, to_terminal = logging.getLogger("jsc.engine"), logging.StreamHandler()
    engine_log.addHandler(to_terminal)
    engine_log.setLevel(logging.INFO)  # it says that it compiles, the first time on a machine
    with suppress(Exception):  # a worker that needs it will meet and log it
        warm_up(torch.float32)
        EpochOrder(1, seed=0).rows_N()
        prepare(TrainSettings.model_validate(default_settings("train", TrainSettings)), Path())
    engine_log.setLevel(logging.NOTSET)
    engine_log.removeHandler(to_terminal)
