"""What is done once in the process that workers are forks of, for all of them."""

import logging
from contextlib import suppress

from jsc.imports import spared_from_collection

with spared_from_collection():
    import torch
    import torch.utils.tensorboard

    from jsc.training import warm_up_once

    engine_log, to_terminal = logging.getLogger("jsc.engine"), logging.StreamHandler()
    engine_log.addHandler(to_terminal)
    engine_log.setLevel(logging.INFO)  # it says that it compiles, the first time on a machine
    with suppress(Exception):  # a worker that needs it will meet and log it
        warm_up_once(torch.float32)
    engine_log.setLevel(logging.NOTSET)
    engine_log.removeHandler(to_terminal)
