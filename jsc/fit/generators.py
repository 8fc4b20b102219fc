"""The random number generators that a network or a callback may draw from, so that a resumed run draws on."""

import random
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

GeneratorStates = dict[str, Any]
"""Of each generator by its name; plain values and tensors, which load without running code."""

CPU = torch.device("cpu")


def generator_states(device: torch.device = CPU) -> GeneratorStates:
    """This process's: Python's, NumPy's, torch's, and that of a CUDA device."""
    version, numbers, gauss = random.getstate()
    numpy: Any = np.random.get_state()  # noqa: NPY002  # of the generator that others draw from too
    kind, key, *place = numpy
    states = {
        "python": [version, torch.tensor(numbers), gauss],
        "numpy": [kind, torch.from_numpy(key.astype(np.int64)), *place],
        "torch": torch.get_rng_state(),
    }
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def states_of_all(device: torch.device) -> list[GeneratorStates]:
    """Those of all processes that train together, by rank; each of them has to ask."""
    here = generator_states(device)
    if not (dist.is_available() and dist.is_initialized()):
        return [here]
    states: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(states, here)
    return states


def restore_generators(states: GeneratorStates, device: torch.device = CPU) -> None:
    """Go on where `states` were taken; CUDA's only where there was one and is one."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    kind, key, *place = states["numpy"]
    np.random.set_state((kind, key.numpy(), *place))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
