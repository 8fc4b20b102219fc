"""Collisions from Pythia 8: what a detector would see of each, and the partons that jets are matched to.

Shapes: E events, each with any number of particles (awkward arrays).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import awkward as ak
import numpy as np
import pythia8mc
import vector

from jsc.simulation.processes import (
    COLLISION_ENERGY_GEV,
    HADRONIC_DECAYS,
    PARTICLE_MAX_ABS_ETA,
    PARTON_PT_MAX_GEV,
    PARTON_PT_MIN_GEV,
    QUARKS,
    Process,
)

vector.register_awkward()

NEUTRINOS = (12, 14, 16)
HARD_PROCESS_STATUSES = (22, 23)  # Pythia's codes for a particle that the hardest process made, decaying or not
QUARK_OF_DECAY_STATUS = 23
BEAM_PROTON = 2212
INCOMING, OUTGOING = -1, 1  # Les Houches status codes

HARD_PROCESS = (
    f"Beams:eCM={COLLISION_ENERGY_GEV}",
    f"PhaseSpace:pTHatMin={PARTON_PT_MIN_GEV}",
    f"PhaseSpace:pTHatMax={PARTON_PT_MAX_GEV}",
)
UNDECAYED = ("ProcessLevel:resonanceDecays=off", "PartonLevel:all=off", "HadronLevel:all=off", "Check:event=off")


@dataclass(frozen=True)
class Events:
    """`visible` are the stable particles in reach but for neutrinos, `partons` what a jet must lie near to be kept.

    Both are awkward arrays of four-momenta [E, any number] in GeV.
    """

    visible: ak.Array
    partons: ak.Array


class EventGenerator:
    """A stream of events of one process, fixed by its two seeds (1 to 900,000,000, see Pythia's Random:seed)."""

    def __init__(self, process: Process, *, seed: int, pair_seed: int) -> None:
        """`pair_seed` makes the undecayed boson pairs of a longitudinal process; others do not use it."""
        self._process = process
        self._polarisation = np.random.default_rng(seed)
        if process.is_longitudinal:
            self._pairs = _UndecayedPairs(_start_pythia([*process.settings, *HARD_PROCESS, *UNDECAYED], pair_seed))
            self._pythia = _start_pythia([*HADRONIC_DECAYS, "Beams:frameType=5"], seed, self._pairs)
        else:
            self._pythia = _start_pythia([*process.settings, *HARD_PROCESS, *HADRONIC_DECAYS], seed)

    def generate(self, num_events: int) -> Events:
        """The next events. How they are cut into calls changes none of them."""
        particles = self._pythia.nextBatch(num_events).prt
        is_visible = (particles.status > 0) & ~_is_one_of(abs(particles.id), NEUTRINOS)
        visible = _momenta(particles[is_visible].p)
        return Events(
            visible=visible[abs(visible.eta) < PARTICLE_MAX_ABS_ETA],
            partons=self._longitudinal_bosons(particles) if self._process.is_longitudinal else self._partons(particles),
        )

    def _partons(self, particles: ak.Array) -> ak.Array:
        is_hard = _is_one_of(abs(particles.status), HARD_PROCESS_STATUSES)
        return _momenta(particles[is_hard & _is_one_of(abs(particles.id), self._process.parton_ids)].p)

    def _longitudinal_bosons(self, particles: ak.Array) -> ak.Array:
        """Of the two bosons of each event those that a sin^2(theta*) decay would keep.

        theta* is the angle between a quark and the boson's flight, in the boson's rest frame. The events come with
        isotropic decays; keeping each with probability sin^2(theta*) leaves the distribution of a longitudinal boson.
        """
        is_decay_quark = (abs(particles.status) == QUARK_OF_DECAY_STATUS) & _is_one_of(abs(particles.id), QUARKS)
        quarks = particles[is_decay_quark]
        assert ak.all(ak.num(quarks) == 4), "a boson pair has four quarks"
        assert ak.all(quarks.mother1[:, 0] == quarks.mother1[:, 1]), "a boson's two quarks lie side by side"
        p4 = {"px": quarks.p.px, "py": quarks.p.py, "pz": quarks.p.pz, "E": quarks.p.e}
        of_quarks = {name: ak.to_numpy(ak.to_regular(value)).reshape(-1, 2, 2) for name, value in p4.items()}
        of_bosons = {name: value.sum(axis=-1) for name, value in of_quarks.items()}
        momentum = np.sqrt(of_bosons["px"] ** 2 + of_bosons["py"] ** 2 + of_bosons["pz"] ** 2)
        # Boosted along the flight, massless quarks of energy m/2 get E1 - E2 = |p| cos(theta*).
        cos_theta = (of_quarks["E"][..., 0] - of_quarks["E"][..., 1]) / momentum
        is_kept = self._polarisation.random(cos_theta.shape) < 1 - cos_theta**2
        bosons = ak.zip({name: ak.from_numpy(value) for name, value in of_bosons.items()}, with_name="Momentum4D")
        return ak.from_regular(bosons)[ak.from_regular(ak.Array(is_kept))]


class _UndecayedPairs(pythia8mc.LHAup):
    """Les Houches events, handed over in memory: the boson pairs of another Pythia, before they decay.

    Pythia decays the bosons of its own processes with their full matrix element, that is, with their mixed
    polarisations; those that it reads from outside it decays isotropically.
    """

    PROCESS_ID = 9999
    KEEP_WEIGHTS = 3  # Les Houches' strategy code: all events have weight 1, take each as it comes

    def __init__(self, pythia: pythia8mc.Pythia) -> None:
        super().__init__()
        self._pythia = pythia

    def setInit(self) -> bool:  # noqa: N802  # Pythia calls it by this name
        self.setBeamA(BEAM_PROTON, COLLISION_ENERGY_GEV / 2)
        self.setBeamB(BEAM_PROTON, COLLISION_ENERGY_GEV / 2)
        self.setStrategy(self.KEEP_WEIGHTS)
        self.addProcess(self.PROCESS_ID, 1.0, 0.0, 1.0)
        return True

    def setEvent(self, process_id: int = 0) -> bool:  # noqa: N802  # Pythia calls it by this name
        while not self._pythia.next():
            pass
        event, info = self._pythia.process, self._pythia.infoPython()
        self.setProcess(self.PROCESS_ID, 1.0, info.QFac(), info.alphaEM(), info.alphaS())
        for i in range(3, event.size()):  # 0 to 2 are the event as a whole and the beams
            p = event[i]
            status, mothers = (INCOMING, (0, 0)) if i < 5 else (OUTGOING, (1, 2))
            momentum = (p.px(), p.py(), p.pz(), p.e(), p.m())
            lifetime, spin_unknown, no_scale = 0.0, 9.0, -1.0
            self.addParticle(p.id(), status, *mothers, p.col(), p.acol(), *momentum, lifetime, spin_unknown, no_scale)
        return True


def _start_pythia(settings: Sequence[str], seed: int, events: _UndecayedPairs | None = None) -> pythia8mc.Pythia:
    pythia = pythia8mc.Pythia("", False)  # no banner
    for setting in [*settings, "Random:setSeed=on", f"Random:seed={seed}", "Print:quiet=on"]:
        if not pythia.readString(setting):
            raise RuntimeError(f"Pythia {pythia8mc.__version__} does not know the setting {setting!r}")
    if events is not None:
        pythia.setLHAupPtr(events)
    if not pythia.init():
        raise RuntimeError(f"Pythia did not start with {', '.join(settings)}")
    return pythia


def _is_one_of(values: ak.Array, allowed: Sequence[int]) -> ak.Array:
    found = values == allowed[0]
    for value in allowed[1:]:
        found = found | (values == value)
    return found


def _momenta(p: ak.Array) -> ak.Array:
    return ak.zip({"px": p.px, "py": p.py, "pz": p.pz, "E": p.e}, with_name="Momentum4D")
