"""Jets from events, with FastJet: clustering, selection, matching to the partons, soft drop.

Shapes: J jets, K constituents of all jets side by side, n constituents of one jet.
"""

from dataclasses import dataclass
from itertools import pairwise

import awkward as ak
import fastjet
import numpy as np
import numpy.typing as npt

from jsc.simulation.events import Events
from jsc.simulation.processes import (
    JET_MAX_ABS_ETA,
    JET_PT_MAX_GEV,
    JET_PT_MIN_GEV,
    JET_RADIUS,
    MATCH_RADIUS,
    SOFT_DROP_Z_CUT,
)

ANTI_KT = fastjet.JetDefinition(fastjet.antikt_algorithm, JET_RADIUS)
# Soft drop's tree is of the whole jet, so the radius is as large as FastJet takes.
CAMBRIDGE_AACHEN = fastjet.JetDefinition(fastjet.cambridge_algorithm, fastjet.JetDefinition.max_allowable_R)


@dataclass(frozen=True)
class Jets:
    """Jets that passed. `p4_K4` float64 (px, py, pz, E) in GeV; jet j has rows `offsets[j]` to `offsets[j + 1]` of it.

    `pt_J` is float64 in GeV; `is_groomed_K` marks the constituents that soft drop has left.
    """

    pt_J: npt.NDArray[np.float64]
    p4_K4: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.int64]
    is_groomed_K: npt.NDArray[np.bool_]


def find_jets(events: Events) -> Jets:
    """Anti-kT jets in the window of transverse momentum and eta that lie near one of the event's partons."""
    clusters = fastjet.ClusterSequence(events.visible, ANTI_KT)
    jets = _momenta(clusters.inclusive_jets(min_pt=JET_PT_MIN_GEV))
    constituents = _momenta(clusters.constituents(min_pt=JET_PT_MIN_GEV))
    distance = ak.min(_distances(jets, events.partons), axis=-1)  # None where the event has no parton
    is_kept = (
        ak.fill_none(distance < MATCH_RADIUS, False)
        & (jets.pt > JET_PT_MIN_GEV)
        & (jets.pt < JET_PT_MAX_GEV)
        & (abs(jets.eta) < JET_MAX_ABS_ETA)
    )
    kept = ak.flatten(constituents[is_kept], axis=1)
    p4_K4 = np.stack([ak.to_numpy(ak.flatten(kept[c])) for c in ("px", "py", "pz", "E")], axis=1)
    offsets = np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(kept)))]).astype(np.int64)
    is_groomed_K = np.zeros(len(p4_K4), dtype=np.bool_)
    for start, end in pairwise(offsets):
        is_groomed_K[start:end] = soft_drop(p4_K4[start:end])
    return Jets(ak.to_numpy(ak.flatten(jets[is_kept].pt)), p4_K4, offsets, is_groomed_K)


def soft_drop(p4_n4: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which constituents of one jet soft drop leaves, bool [n]: beta = 0, so it is the modified mass-drop tagger.

    The jet is clustered again with Cambridge/Aachen and undone from the last step: while the softer of the two parts
    has min(p_T1, p_T2) / (p_T1 + p_T2) <= z_cut it is dropped and the harder one is looked into; a lone constituent is
    left as it is. Larkoski, Marzani, Soyez, Thaler, arXiv:1402.2657, eq. (1.1).
    """
    particles = []
    for i, p4 in enumerate(p4_n4.tolist()):
        particles.append(fastjet.PseudoJet(*p4))
        particles[-1].set_user_index(i)
    clusters = fastjet.ClusterSequence(particles, CAMBRIDGE_AACHEN)
    (jet,) = clusters.inclusive_jets()
    first, second = fastjet.PseudoJet(), fastjet.PseudoJet()
    while jet.has_parents(first, second):
        harder, softer = (first, second) if first.pt() > second.pt() else (second, first)
        if softer.pt() / (softer.pt() + harder.pt()) > SOFT_DROP_Z_CUT:
            break
        jet = fastjet.PseudoJet(harder)
    is_kept_n = np.zeros(len(p4_n4), dtype=np.bool_)
    is_kept_n[[c.user_index() for c in jet.constituents()]] = True
    return is_kept_n


def _distances(jets: ak.Array, partons: ak.Array) -> ak.Array:
    pairs = ak.cartesian([jets, partons], nested=True)
    return pairs["0"].deltaR(pairs["1"])


def _momenta(p: ak.Array) -> ak.Array:
    return ak.zip({"px": p.px, "py": p.py, "pz": p.pz, "E": p.E}, with_name="Momentum4D")
