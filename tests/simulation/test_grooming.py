import itertools
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastjet", reason="the extra jsc[simulate] is not installed")
pytest.importorskip("pythia8mc", reason="the extra jsc[simulate] is not installed")

import awkward as ak

from jsc.simulation.events import Events
from jsc.simulation.grooming import find_jets, soft_drop

CONSTITUENTS = Path(__file__).parent / "constituents.npz"


def pt_y_phi(p: np.ndarray) -> tuple[float, float, float]:
    return math.hypot(p[0], p[1]), 0.5 * math.log((p[3] + p[2]) / (p[3] - p[2])), math.atan2(p[1], p[0])


def angle(p: np.ndarray, q: np.ndarray) -> float:
    (_, y1, phi1), (_, y2, phi2) = pt_y_phi(p), pt_y_phi(q)
    return math.hypot(y1 - y2, math.remainder(phi1 - phi2, 2 * math.pi))


def brute_force_soft_drop(jet: np.ndarray) -> list[int]:
    """Cambridge/Aachen by joining the nearest two again and again, then soft drop with beta = 0 and z_cut = 0.1."""
    parts = {(i,): (p, None) for i, p in enumerate(jet)}  # constituents: momentum, the two parts it was joined from
    angles = {pair: angle(parts[pair[0]][0], parts[pair[1]][0]) for pair in itertools.combinations(parts, 2)}
    while len(parts) > 1:
        a, b = min(angles, key=angles.__getitem__)
        joined = parts[a][0] + parts[b][0], (parts.pop(a), a, parts.pop(b), b)
        angles = {pair: d for pair, d in angles.items() if not {a, b} & set(pair)}
        angles |= {(other, a + b): angle(p, joined[0]) for other, (p, _) in parts.items()}
        parts[a + b] = joined
    ((constituents, (_, joined_from)),) = parts.items()
    while joined_from is not None:
        first, a, second, b = joined_from
        pts = pt_y_phi(first[0])[0], pt_y_phi(second[0])[0]
        if min(pts) / sum(pts) > 0.1:
            break
        constituents, (_, joined_from) = (a, first) if pts[0] > pts[1] else (b, second)
    return sorted(constituents)


def test_soft_drop_agrees_with_its_definition() -> None:
    with np.load(CONSTITUENTS) as file:
        p4_K4, offsets = file["p4"], file["offsets"]
    num_kept = []
    for start, end in itertools.pairwise(offsets):
        kept = np.flatnonzero(soft_drop(p4_K4[start:end])).tolist()
        assert kept == brute_force_soft_drop(p4_K4[start:end])
        num_kept.append(len(kept))
    assert 0 < sum(num_kept) < len(p4_K4)  # it has dropped something


def test_a_lone_constituent_is_left() -> None:
    assert soft_drop(np.array([[3.0, 4.0, 0.0, 5.0]])).tolist() == [True]


def test_soft_drop_looks_into_the_harder_part() -> None:
    def massless(pt: float, phi: float) -> list[float]:
        return [pt * math.cos(phi), pt * math.sin(phi), 0.0, pt]

    two_prongs_and_a_soft_one = np.array([massless(500, 0.0), massless(9, 0.6), massless(300, 0.2)])
    assert soft_drop(two_prongs_and_a_soft_one).tolist() == [True, False, True]
    # 51 of 551 is 0.093, below z_cut; 62 of 562 is 0.110, above.
    assert soft_drop(np.array([massless(500, 0.0), massless(51, 0.5)])).tolist() == [True, False]
    assert soft_drop(np.array([massless(500, 0.0), massless(62, 0.5)])).tolist() == [True, True]


def events(visible: list[list[tuple[float, float, float]]], partons: list[list[tuple[float, float, float]]]) -> Events:
    def momenta(of_events: list[list[tuple[float, float, float]]]) -> ak.Array:
        p4 = [
            [(pt * math.cos(f), pt * math.sin(f), pt * math.sinh(eta), pt * math.cosh(eta)) for pt, eta, f in event]
            for event in of_events
        ]
        fields = [ak.Array([[p[i] for p in event] for event in p4]) for i in range(4)]
        fields = [ak.values_astype(field, np.float64) for field in fields]
        return ak.zip(dict(zip(("px", "py", "pz", "E"), fields, strict=True)), with_name="Momentum4D")

    return Events(visible=momenta(visible), partons=momenta(partons))


NEAR = [(1000.0, 0.0, 0.1)]


@pytest.mark.parametrize(
    ("visible", "partons", "pts"),
    [
        ([(900.0, 0.0, 0.0), (50.0, 0.1, 0.3)], NEAR, [947.9]),
        ([(790.0, 0.0, 0.0)], NEAR, []),
        ([(1210.0, 0.0, 0.0)], NEAR, []),
        ([(900.0, 2.6, 0.1)], [(1000.0, 2.6, 0.1)], []),
        ([(900.0, 2.4, 0.1)], [(1000.0, 2.4, 0.1)], [900.0]),
        ([(900.0, 0.0, 0.0)], [(1000.0, 0.3, 0.3)], []),
        ([(900.0, 0.0, 0.0)], [], []),
        ([(900.0, 0.0, 0.0), (850.0, 0.0, 3.0)], [(1000.0, 0.0, 0.0), (1000.0, 0.0, 3.0)], [900.0, 850.0]),
        ([(900.0, 0.0, 3.1), (20.0, 0.0, -3.1)], [(1000.0, 0.0, -3.1)], [920.0]),
    ],
    ids=["two near", "too soft", "too hard", "forward", "just central", "not near", "no parton", "two jets", "wraps"],
)
def test_jets_in_the_window_and_near_a_parton_are_kept(
    visible: list[tuple[float, float, float]], partons: list[tuple[float, float, float]], pts: list[float]
) -> None:
    other = [(1000.0, 1.0, 1.0)]
    jets = find_jets(events([other, visible], [other, partons]))
    assert sorted(jets.pt_J.tolist()) == pytest.approx(sorted([1000.0, *pts]), abs=0.5)
    assert len(jets.offsets) == len(pts) + 2
    assert jets.offsets[-1] == len(jets.p4_K4) == len(jets.is_groomed_K)
