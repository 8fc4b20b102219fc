import math

import pytest

from jsc.reporting.mcnemar import McNemar, holm
from jsc.reporting.sample import Sample

VALUES = [0.7166, 0.7201, 0.7099]


def test_mean_and_deviation_are_those_of_the_seeds() -> None:
    s = Sample.of([*VALUES, None, math.nan])
    assert (s.n, s.mean) == (3, pytest.approx(0.71553333333, abs=1e-10))
    assert s.deviation == pytest.approx(0.00518298, abs=1e-8)


@pytest.mark.parametrize(("confidence", "quantile"), [(0.90, 2.919986), (0.95, 4.302653), (0.99, 9.924843)])
def test_the_interval_is_student_t(confidence: float, quantile: float) -> None:
    """Quantiles for two degrees of freedom as printed tables give them."""
    half_width = quantile * 0.00518298 / 3**0.5
    expected = (0.71553333 - half_width, 0.71553333 + half_width)
    assert Sample.of(VALUES).interval(confidence) == pytest.approx(expected, abs=1e-7)


def test_one_seed_has_no_deviation_and_no_interval() -> None:
    s = Sample.of([0.7])
    assert (s.mean, s.deviation) == (0.7, None)
    with pytest.raises(AssertionError, match="one seed has no interval"):
        s.interval(0.95)
    assert math.isnan(Sample.of([]).mean)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert Sample.of([0.7, 0.7]).interval(0.95) == (0.7, 0.7)


@pytest.mark.parametrize(("only_a", "only_b"), [(5, 15), (0, 6), (40, 38), (1200, 1000)])
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    expected = min(1.0, 2 * sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n)
    assert McNemar(only_a, only_b, 10_000).p_value == pytest.approx(expected, rel=1e-9)


def test_mcnemar_without_disagreement_says_nothing() -> None:
    test = McNemar(0, 0, 100)
    assert (test.p_value, test.difference, test.interval) == (1.0, 0.0, (0.0, 0.0))


def test_the_interval_of_the_difference_is_paired() -> None:
    # By hand: b - c = 10, b + c = 20, N = 100: 0.1 +- 1.96 sqrt(20 - 1) / 100.
    low, high = McNemar(5, 15, 100).interval
    assert (low, high) == pytest.approx((0.1 - 0.085433, 0.1 + 0.085433), abs=1e-5)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
