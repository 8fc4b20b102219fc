"""What is simulated: the physics settings, and for every class the hard process that makes its jets.

Changing a number here makes a different data set: all of them travel into the manifest (`physics_settings`).
"""

import dataclasses
from dataclasses import dataclass

COLLISION_ENERGY_GEV = 13_000.0
PARTON_PT_MIN_GEV = 985.0
PARTON_PT_MAX_GEV = 1015.0

PARTICLE_MAX_ABS_ETA = 4.0
JET_RADIUS = 0.8
JET_PT_MIN_GEV = 800.0
JET_PT_MAX_GEV = 1200.0
JET_MAX_ABS_ETA = 2.5
MATCH_RADIUS = 0.4

SOFT_DROP_Z_CUT = 0.1  # with beta = 0, that is, the modified mass-drop tagger (mMDT)

QUARKS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Process:
    """How one class of jets is made.

    `settings` are Pythia's switches of the hard process, `parton_ids` the PDG codes (without sign) of what the jet must
    lie near. With `is_longitudinal`, those are vector bosons of which only longitudinally polarised ones are kept.
    """

    settings: tuple[str, ...]
    parton_ids: tuple[int, ...]
    is_longitudinal: bool = False


PROCESSES = {  # in the order of the class index
    "g": Process(("HardQCD:gg2gg=on", "HardQCD:qqbar2gg=on"), (21,)),
    "q": Process(("HardQCD:qq2qq=on", "HardQCD:gg2qqbar=on", "HardQCD:qqbar2qqbarNew=on"), QUARKS),
    "w": Process(("WeakDoubleBoson:ffbar2WW=on",), (24,), is_longitudinal=True),
    "z": Process(("WeakDoubleBoson:ffbar2gmZgmZ=on", "WeakZ0:gmZmode=2"), (23,), is_longitudinal=True),
    "t": Process(("Top:gg2ttbar=on", "Top:qqbar2ttbar=on"), (6,)),
}
CLASS_NAMES = tuple(PROCESSES)

# Bosons decay to quarks alone, those from top quarks too.
HADRONIC_DECAYS = ("24:onMode=off", "24:onIfAny=1 2 3 4 5", "23:onMode=off", "23:onIfAny=1 2 3 4 5")


def physics_settings() -> dict[str, object]:
    """Every choice of this file as plain JSON values, for the manifest."""
    return {
        "collision_energy_gev": COLLISION_ENERGY_GEV,
        "parton_pt_gev": [PARTON_PT_MIN_GEV, PARTON_PT_MAX_GEV],
        "particle_max_abs_eta": PARTICLE_MAX_ABS_ETA,
        "jet_algorithm": "anti-kt",
        "jet_radius": JET_RADIUS,
        "jet_pt_gev": [JET_PT_MIN_GEV, JET_PT_MAX_GEV],
        "jet_max_abs_eta": JET_MAX_ABS_ETA,
        "match_radius": MATCH_RADIUS,
        "soft_drop_beta": 0,
        "soft_drop_z_cut": SOFT_DROP_Z_CUT,
        "decays": list(HADRONIC_DECAYS),
        "processes": {
            name: {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(process).items()}
            for name, process in PROCESSES.items()
        },
    }
