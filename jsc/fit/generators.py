"""The random number generators that a network or a callback may draw from, so that a resumed run draws on."""

import random
from typing import Any

import numpy as np
import torch

GeneratorStates = dict[str, Any]
"""Of each generator by its name; plain values and tensors, which load without running code."""

CPU = torch.device("cpu")


def generator_states(device: torch.device = CPU) -> GeneratorStates:
    """Python's, NumPy's, torch's, and that of a CUDA device. Processes that train together have the same."""
    version, numbers, gauss = random.getstate()
    numpy: Any = np.random.get_state()  # noqa: NPY002  # of the generator that others draw from too
    states = {
        "python": [version, torch.tensor(numbers), gauss],  # torch's pickler looks at each number of a tuple
        "numpy": [numpy[0], torch.from_numpy(numpy[1].astype(np.int64)), *numpy[2:]],
        "torch": torch.get_rng_state(),
    }
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_generators(states: GeneratorStates, device: torch.device = CPU) -> None:
    """Go on where `states` were taken; those of a checkpoint without any leave all as they are."""
    if states:
        version, numbers, gauss = states["python"]
        random.setstate((version, tuple(numbers.tolist()), gauss))
        kind, key, *place = states["numpy"]
        np.random.set_state((kind, key.numpy(), *place))  # noqa: NPY002
        torch.set_rng_state(states["torch"])
        if device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], device)
