import numpy as np
import pytest

pytest.importorskip("fastjet", reason="the extra jsc[simulate] is not installed")
pytest.importorskip("pythia8mc", reason="the extra jsc[simulate] is not installed")

from jsc.simulation import CLASS_NAMES, OBSERVABLE_NAMES
from jsc.simulation import jets as jets_module
from jsc.simulation.events import EventGenerator
from jsc.simulation.jets import simulate_jets
from jsc.simulation.processes import PROCESSES
from jsc.simulation.shards import Shard

NUM_JETS = 300
MASS, MULTIPLICITY = OBSERVABLE_NAMES.index("j_mass_mmdt"), OBSERVABLE_NAMES.index("j_multiplicity")
POLE_MASSES_GEV = {"w": 80.4, "z": 91.2, "t": 173.0}


def half_sample_mode(values: np.ndarray) -> float:
    """Where values crowd: the shortest stretch with half of them, and again in that, to the end (Robertson, Cryer)."""
    values = np.sort(values)
    while len(values) > 3:
        half = -(-len(values) // 2)
        start = np.argmin(values[half - 1 :] - values[: len(values) - half + 1])
        values = values[start : start + half]
    return float(values.mean())


def test_jets_do_not_depend_on_the_cut_into_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def jets() -> tuple[np.ndarray, np.ndarray]:
        return simulate_jets("z", 4, seed=1, pair_seed=2, on_jets=lambda num: None)

    in_large_batches = jets()
    monkeypatch.setattr(jets_module, "EVENTS_PER_BATCH", 2)
    np.testing.assert_array_equal(jets()[0], in_large_batches[0])
    np.testing.assert_array_equal(jets()[1], in_large_batches[1])


def test_progress_adds_up_to_the_jets_asked_for() -> None:
    told: list[int] = []
    x_NO, pt_N = simulate_jets("t", 7, seed=1, pair_seed=2, on_jets=told.append)
    assert (sum(told), len(x_NO), len(pt_N)) == (7, 7, 7)
    assert (x_NO.dtype, pt_N.dtype) == (np.float32, np.float32)


@pytest.mark.slow
def test_masses_peak_at_the_particles_and_multiplicities_are_in_order() -> None:
    jets = {
        name: simulate_jets(
            name,
            NUM_JETS,
            **dict(zip(("seed", "pair_seed"), Shard(name, 0, 1).seeds(0), strict=True)),
            on_jets=lambda num: None,
        )[0]
        for name in CLASS_NAMES
    }
    peaks = {name: half_sample_mode(jets[name][:, MASS]) for name in POLE_MASSES_GEV}
    assert peaks == pytest.approx(POLE_MASSES_GEV, rel=0.03)
    multiplicity = {name: jets[name][:, MULTIPLICITY].mean() for name in CLASS_NAMES}
    assert multiplicity["g"] > multiplicity["q"] > multiplicity["w"]
    assert multiplicity["t"] > multiplicity["w"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w", "z"])
def test_bosons_are_longitudinal(name: str) -> None:
    """A sin^2 keeps 2/3 of isotropic decays, and of the kept the mean of cos^2(theta*) is 1/5, not 1/3."""
    generator = EventGenerator(PROCESSES[name], seed=3, pair_seed=4)
    particles = generator._pythia.nextBatch(400).prt
    kept = generator._longitudinal_bosons(particles)
    quarks = particles[(abs(particles.status) == 23) & (abs(particles.id) <= 5)]
    energy = np.asarray(quarks.p.e).reshape(-1, 2, 2)
    momentum = np.sqrt(sum(np.asarray(quarks.p[c]).reshape(-1, 2, 2).sum(-1) ** 2 for c in ("px", "py", "pz")))
    cos_theta = (energy[..., 0] - energy[..., 1]) / momentum
    kept_energies = {round(float(e), 6) for event in kept.E.tolist() for e in event}
    is_kept = np.array([[round(float(e), 6) in kept_energies for e in pair] for pair in energy.sum(-1)])
    assert (cos_theta**2).mean() == pytest.approx(1 / 3, abs=0.05)  # isotropic: Pythia has not polarised them
    assert is_kept.mean() == pytest.approx(2 / 3, abs=0.06)
    assert (cos_theta[is_kept] ** 2).mean() == pytest.approx(1 / 5, abs=0.04)
