"""Simulated collisions, clustered, groomed and measured. `Production.run` needs the extra jsc[simulate]."""

from jsc.errors import SimulationError, WorkerError
from jsc.simulation.observables import OBSERVABLE_NAMES, compute_observables
from jsc.simulation.processes import CLASS_NAMES
from jsc.simulation.production import JETS_FILE, MANIFEST_FILE, Production, open_production
from jsc.simulation.progress import progress_bar

__all__ = [
    "CLASS_NAMES",
    "JETS_FILE",
    "MANIFEST_FILE",
    "OBSERVABLE_NAMES",
    "Production",
    "SimulationError",
    "WorkerError",
    "compute_observables",
    "open_production",
    "progress_bar",
]
