"""From a class and seeds to its jets: events, then grooming, then observables. Needs the extra jsc[simulate]."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from jsc.simulation.events import EventGenerator
from jsc.simulation.grooming import find_jets
from jsc.simulation.observables import compute_observables
from jsc.simulation.processes import PROCESSES

EVENTS_PER_BATCH = 200  # about a second, the grain of the progress bar; the jets do not depend on it


def simulate_jets(
    class_name: str, num_jets: int, *, seed: int, pair_seed: int, on_jets: Callable[[int], None]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Observables [num_jets, 16] and transverse momenta in GeV [num_jets] of one class, both float32.

    `on_jets` is told after every batch how many jets it gave, `num_jets` in all. The seeds are Pythia's.
    """
    generator = EventGenerator(PROCESSES[class_name], seed=seed, pair_seed=pair_seed)
    batches, num_done = [], 0
    while num_done < num_jets:
        jets = find_jets(generator.generate(min(EVENTS_PER_BATCH, num_jets - num_done)))
        batches.append((compute_observables(jets.p4_K4, jets.offsets, jets.is_groomed_K), jets.pt_J))
        num_new = min(len(jets.pt_J), num_jets - num_done)
        num_done += num_new
        on_jets(num_new)
    x_NO, pt_N = (np.concatenate(parts)[:num_jets].astype(np.float32) for parts in zip(*batches, strict=True))
    if not np.isfinite(x_NO).all():
        raise FloatingPointError(f"class {class_name}, seed {seed}: an observable is not finite")
    return x_NO, pt_N
