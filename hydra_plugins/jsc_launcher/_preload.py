"""What is done once in the process that workers are forks of, for all of them."""

from jsc.imports import spared_from_collection

with spared_from_collection():
    import torch
    import torch.utils.tensorboard

    from jsc.training import warm_up_once

    warm_up_once(torch.float32)
