import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jsc.simulation import OBSERVABLE_NAMES, compute_observables

CONSTITUENTS = Path(__file__).parent / "constituents.npz"  # four jets of each class, from Pythia 8.317 and FastJet 3.5

# Both sides are float64 and differ in the order of their sums (up to 1e5 terms) and in how they get angles.
RTOL = 1e-10


def p4(pt: float, y: float, phi: float, mass: float = 0.0) -> list[float]:
    mt = math.hypot(pt, mass)
    return [pt * math.cos(phi), pt * math.sin(phi), mt * math.sinh(y), mt * math.cosh(y)]


def random_jet(num_constituents: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array(
        [
            p4(
                rng.lognormal(2, 1.5),
                1.2 + rng.normal(0, 0.3),
                math.pi + rng.normal(0, 0.3),
                rng.choice([0, 0.14, 0.94]),
            )
            for _ in range(num_constituents)
        ]
    )


def brute_force(jet: np.ndarray, groomed: np.ndarray) -> dict[str, float]:
    """From the formulas in the papers, term by term."""

    def pt(p):
        return math.hypot(p[0], p[1])

    def angle(p, q):
        dphi = math.remainder(math.atan2(p[1], p[0]) - math.atan2(q[1], q[0]), 2 * math.pi)
        dy = 0.5 * math.log((p[3] + p[2]) / (p[3] - p[2])) - 0.5 * math.log((q[3] + q[2]) / (q[3] - q[2]))
        return math.hypot(dphi, dy)

    def e(num_particles, num_angles, beta):
        """Moult, Necib, Thaler: products of the `num_angles` smallest angles of `num_particles` particles."""
        terms = []
        for particles in itertools.combinations(groomed.tolist(), num_particles):
            angles = sorted(angle(p, q) for p, q in itertools.combinations(particles, 2))
            fractions = [pt(p) / total for p in particles]
            terms.append(math.prod(fractions) * math.prod(angles[:num_angles]) ** beta)
        return math.fsum(terms)

    total = math.fsum(pt(p) for p in groomed)
    jet_total = math.fsum(pt(p) for p in jet)
    px, py, pz, energy = (math.fsum(column) for column in groomed.T)
    values = {
        "j_zlogz": math.fsum(pt(p) / jet_total * math.log(pt(p) / jet_total) for p in jet),
        "j_c1_b0_mmdt": e(2, 1, 0),
        "j_c1_b1_mmdt": e(2, 1, 1),
        "j_c1_b2_mmdt": e(2, 1, 2),
        "j_mass_mmdt": math.sqrt(energy**2 - px**2 - py**2 - pz**2),
        "j_multiplicity": float(len(jet)),
    }
    for beta in (1, 2):
        e2, e3 = e(2, 1, beta), e(3, 3, beta)
        values[f"j_c2_b{beta}_mmdt"] = e3 / e2**2
        values[f"j_d2_b{beta}_mmdt"] = e3 / e2**3
        values[f"j_d2_a1_b{beta}_mmdt"] = e(3, 3, 1) / e2 ** (3 * 1 / beta)
        values[f"j_m2_b{beta}_mmdt"] = e(3, 1, beta) / e2
        values[f"j_n2_b{beta}_mmdt"] = e(3, 2, beta) / e2**2
    return values


def observables_of(jet: np.ndarray, is_groomed: np.ndarray | None = None) -> dict[str, float]:
    kept = np.ones(len(jet), dtype=np.bool_) if is_groomed is None else is_groomed
    (values,) = compute_observables(jet, np.array([0, len(jet)]), kept)
    return dict(zip(OBSERVABLE_NAMES, values.tolist(), strict=True))


def test_the_names_are_there_without_numba() -> None:
    """Every command that knows a data set imports them."""
    code = "import sys, jsc.datasets, jsc.simulation; print('numba' in sys.modules, len(jsc.datasets.FEATURE_NAMES))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False 16\n"


@pytest.mark.parametrize("num_constituents", [2, 3, 4, 7, 12])
@pytest.mark.parametrize("seed", range(5))
def test_a_random_jet_agrees_with_the_formulas(num_constituents: int, seed: int) -> None:
    jet = random_jet(num_constituents, seed)
    is_groomed = np.arange(num_constituents) >= num_constituents // 4
    expected = brute_force(jet, jet[is_groomed])
    assert observables_of(jet, is_groomed) == pytest.approx(expected, rel=RTOL, abs=1e-15)


def test_simulated_jets_agree_with_the_formulas_each_by_itself() -> None:
    with np.load(CONSTITUENTS) as file:
        p4_K4, offsets = file["p4"], file["offsets"]
    is_groomed_K = np.random.default_rng(0).random(len(p4_K4)) < 0.25  # few enough for three nested loops in Python
    computed = compute_observables(p4_K4, offsets, is_groomed_K)
    assert len(computed) == 20
    for j, row in enumerate(computed):
        jet = slice(offsets[j], offsets[j + 1])
        expected = brute_force(p4_K4[jet], p4_K4[jet][is_groomed_K[jet]])
        assert dict(zip(OBSERVABLE_NAMES, row.tolist(), strict=True)) == pytest.approx(expected, rel=RTOL)


def test_three_equal_particles_at_equal_angles() -> None:
    side = 0.4
    corners = [(0.0, 0.0), (side, 0.0), (side / 2, side * math.sqrt(3) / 2)]
    jet = np.array([p4(100.0, y, phi) for y, phi in corners])
    values = observables_of(jet)
    expected = {
        "j_zlogz": -math.log(3),
        "j_c1_b0_mmdt": 1 / 3,
        "j_c1_b1_mmdt": side / 3,
        "j_c1_b2_mmdt": side**2 / 3,
        "j_c2_b1_mmdt": side / 3,
        "j_c2_b2_mmdt": side**2 / 3,
        "j_d2_b1_mmdt": 1.0,
        "j_d2_b2_mmdt": 1.0,
        "j_d2_a1_b1_mmdt": 1.0,
        "j_d2_a1_b2_mmdt": side**3 / 27 / (side**2 / 3) ** 1.5,
        "j_m2_b1_mmdt": 1 / 9,
        "j_m2_b2_mmdt": 1 / 9,
        "j_n2_b1_mmdt": 1 / 3,
        "j_n2_b2_mmdt": 1 / 3,
        "j_mass_mmdt": math.sqrt(
            2
            * 100.0**2
            * sum(math.cosh(a[0] - b[0]) - math.cos(a[1] - b[1]) for a, b in itertools.combinations(corners, 2))
        ),
        "j_multiplicity": 3.0,
    }
    assert values == pytest.approx(expected, rel=RTOL)


RATIOS = [name for name in OBSERVABLE_NAMES if name[2:4] in ("c2", "d2", "m2", "n2")]


@pytest.mark.parametrize(
    "groomed",
    [
        [p4(50.0, 0.1, 0.2, mass=0.14)],
        [p4(50.0, 0.0, 0.0), p4(30.0, 0.0, 0.0), p4(20.0, 0.0, 0.0)],
    ],
    ids=["one constituent", "all in one direction"],
)
def test_ratios_of_a_jet_without_spread_are_zero(groomed: list[list[float]]) -> None:
    values = observables_of(np.array([*groomed, p4(1.0, 0.3, 0.3)]), np.array([True] * len(groomed) + [False]))
    assert [values[name] for name in RATIOS] == [0.0] * 10
    assert values["j_c1_b1_mmdt"] == 0.0
    assert values["j_mass_mmdt"] == pytest.approx(0.14 if len(groomed) == 1 else 0.0, abs=1e-5)


def test_two_constituents_have_no_three_point_function() -> None:
    values = observables_of(random_jet(2, 0))
    assert [values[name] for name in RATIOS] == [0.0] * 10
    assert values["j_c1_b1_mmdt"] > 0


def boosted(jet: np.ndarray, rapidity: float) -> np.ndarray:
    px, py, pz, e = jet.T
    c, s = math.cosh(rapidity), math.sinh(rapidity)
    return np.stack([px, py, c * pz + s * e, s * pz + c * e], axis=1)


def turned(jet: np.ndarray, phi: float) -> np.ndarray:
    px, py, pz, e = jet.T
    c, s = math.cos(phi), math.sin(phi)
    return np.stack([c * px - s * py, s * px + c * py, pz, e], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_a_boost_along_the_beam_and_a_turn_around_it_change_nothing(seed: int) -> None:
    """Massive constituents: pseudorapidity in place of rapidity would fail the boost."""
    jet = random_jet(9, seed)
    still = observables_of(jet)
    assert observables_of(boosted(jet, -0.9)) == pytest.approx(still, rel=1e-9)
    assert observables_of(turned(jet, 2.5)) == pytest.approx(still, rel=1e-9)


def test_a_jet_twice_as_hard_has_twice_the_mass_and_nothing_else_new() -> None:
    jet = random_jet(9, 1)
    once, twice = observables_of(jet), observables_of(2 * jet)
    assert twice == pytest.approx({**once, "j_mass_mmdt": 2 * once["j_mass_mmdt"]}, rel=RTOL)


def test_energyflow_agrees() -> None:
    energyflow = pytest.importorskip("energyflow", reason="energyflow is not installed: it is optional")
    with np.load(CONSTITUENTS) as file:
        p4_K4, offsets = file["p4"], file["offsets"]
    for start, end in itertools.pairwise(offsets):
        values = observables_of(p4_K4[start:end])
        for beta in (1, 2):
            options = {"measure": "hadr", "beta": beta, "coords": "epxpypz"}
            energy_first = p4_K4[start:end][:, [3, 0, 1, 2]]
            # Its sums run over all i, j, k: 2 and 6 times ours.
            e2 = energyflow.EFP([(0, 1)], normed=True, **options).compute(energy_first) / 2
            c2 = energyflow.C2(strassen=False, reg=0.0, **options).compute(energy_first) * 2**2 / 6
            d2 = energyflow.D2(strassen=False, reg=0.0, **options).compute(energy_first) * 2**3 / 6
            ours = [values[f"j_{name}_b{beta}_mmdt"] for name in ("c1", "c2", "d2")]
            assert ours == pytest.approx([e2, c2, d2], rel=RTOL)
