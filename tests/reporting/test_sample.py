import math

import pytest
import scipy.stats

from jsc.reporting.mcnemar import McNemar, holm
from jsc.reporting.sample import overlap, sample

VALUES = [0.7166, 0.7201, 0.7099]


def test_mean_and_deviation_are_those_of_the_seeds() -> None:
    s = sample([*VALUES, None, math.nan])
    assert (s.n, s.mean) == (3, pytest.approx(0.71553333333, abs=1e-10))
    assert s.deviation == pytest.approx(0.00518298, abs=1e-8)


@pytest.mark.parametrize("confidence", [0.68, 0.95, 0.99])
def test_the_interval_is_student_t(confidence: float) -> None:
    s = sample(VALUES)
    expected = scipy.stats.t.interval(confidence, 2, loc=s.mean, scale=scipy.stats.sem(VALUES))
    assert s.interval(confidence) == pytest.approx(expected, rel=1e-12)


def test_one_seed_has_no_deviation_and_no_interval() -> None:
    s = sample([0.7])
    assert (s.mean, s.deviation, s.interval(0.95)) == (0.7, None, None)
    assert math.isnan(sample([]).mean)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((0, 1), (2, 3), False), ((2, 3), (0, 1), False), ((0, 2), (1, 3), True), ((0, 1), (1, 2), True)],
)
def test_overlap(one: tuple[float, float], other: tuple[float, float], expected: bool) -> None:
    assert overlap(one, other) is expected


@pytest.mark.parametrize(("only_a", "only_b"), [(5, 15), (0, 6), (40, 38), (1200, 1000)])
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    expected = scipy.stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
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
