"""Words of Hydra's grammar, and what a search may choose from."""

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hydra_plugins.jsc_search._space import num_points, space_of
from jsc.errors import CommandError


@pytest.mark.parametrize(
    ("value", "distribution", "points"),
    [
        ("interval(1e-4,1e-1)", FloatDistribution(1e-4, 1e-1), math.inf),
        ("tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True), math.inf),
        ("int(interval(16,512))", IntDistribution(16, 512), 497),
        ("tag(log,int(interval(16,512)))", IntDistribution(16, 512, log=True), 497),
        ("range(10,51,20)", IntDistribution(10, 50, step=20), 3),
        ("range(50,5,-20)", IntDistribution(10, 50, step=20), 3),
        ("range(0.5,2.5,1)", CategoricalDistribution(("0.5", "1.5")), 2),
        ("64,128,64", CategoricalDistribution(("64", "128")), 2),
        ("choice([0.9,0.999],[0.8,0.99])", CategoricalDistribution(("[0.9,0.999]", "[0.8,0.99]")), 2),
        ("interval(0.5,0.5)", FloatDistribution(0.5, 0.5), 1),
    ],
)
def test_words_become_distributions(value: str, distribution: BaseDistribution, points: float) -> None:
    space = space_of(OverridesParser.create().parse_overrides([f"a.b={value}", "c=1,2"]))
    assert space == {"a.b": distribution, "c": CategoricalDistribution(("1", "2"))}
    assert num_points(space) == 2 * points


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("interval(1,0)", r"a=interval\(1,0\): `low <= high` must hold"),
        ("tag(log,interval(0,1))", "must hold for `log=True`"),
        ("tag(logarithmic,interval(1,2))", "tag 'logarithmic' means nothing here; allowed: log"),
    ],
)
def test_what_cannot_be_searched_is_explained(value: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        space_of(OverridesParser.create().parse_overrides([f"a={value}"]))
