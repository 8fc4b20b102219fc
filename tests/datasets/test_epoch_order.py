import numpy as np
import pytest

from jsc.datasets.epoch_order import EpochOrder


def order(num_jets: int, seed: int = 0, epoch: int = 0) -> list[int]:
    drawn = EpochOrder(num_jets, seed=seed)
    drawn.set_epoch(epoch)
    rows: list[int] = drawn.rows_N().tolist()
    return rows


@pytest.mark.parametrize("num_jets", [1, 2, 3, 100, 2049, 72_000])
def test_every_jet_comes_once(num_jets: int) -> None:
    assert sorted(order(num_jets)) == list(range(num_jets))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    orders = [tuple(order(1000, seed, epoch)) for seed in range(4) for epoch in range(4)]
    assert len(set(orders)) == 16
    assert order(1000, 2, 3) == list(orders[11])


def test_a_seed_gives_the_order_that_it_always_gave() -> None:
    assert order(10, 3, 5) == [6, 3, 1, 7, 5, 8, 0, 2, 9, 4]
    assert sum(place * jet for place, jet in enumerate(order(1000, 3, 5))) == 251636194


@pytest.mark.parametrize("num_jets", [6, 6144])
def test_every_place_is_equally_likely(num_jets: int) -> None:
    """Where the first, a middle and the last jet land, in 3,000 epochs: chi-square over sixths of the epoch."""
    drawn = EpochOrder(num_jets, seed=7)
    places = np.zeros((3, 6))
    for epoch in range(3000):
        drawn.set_epoch(epoch)
        place_of = np.argsort(drawn.rows_N().numpy())
        for which, jet in enumerate((0, num_jets // 2, num_jets - 1)):
            places[which, place_of[jet] * 6 // num_jets] += 1
    chi_square = ((places - 500) ** 2 / 500).sum(axis=1)
    assert (chi_square < 25.7).all()  # five degrees of freedom: exceeded by chance once in 10,000


def test_neighbours_are_parted() -> None:
    rows = np.array(order(72_000))
    assert (np.abs(np.diff(rows)) == 1).mean() < 1e-3
