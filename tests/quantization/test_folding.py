import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from quantized_networks import chains, with_statistics
from torch import Tensor, nn
from torch.nn import functional

from jsc.errors import QuantizationError
from jsc.quantization.folding import FoldedChain, fold


def computed(chain: FoldedChain, x_NF: Tensor) -> Tensor:
    y = (x_NF - chain.input.offset_F) * chain.input.scale_F
    y = functional.relu(y) if chain.input.has_relu else y
    for stage in chain.stages:
        y = functional.linear(y, stage.weight, stage.bias)
        y = functional.relu(y) if stage.has_relu else y
    return y


def moments_of(width: int) -> dict[str, Tensor]:
    return {"mean_F": torch.linspace(-3, 5, width).double(), "std_F": torch.linspace(0.1, 7, width).double()}


def assert_folds(network: nn.Module, width: int) -> None:
    network = network.double()
    moments = moments_of(width)
    x_NF = torch.randn(50, width, dtype=torch.float64) * moments["std_F"] + moments["mean_F"]
    expected = network((x_NF - moments["mean_F"]) / moments["std_F"])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.testing.assert_close(computed(fold(network, **moments), x_NF), expected, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@settings(deadline=None)
@given(chains())
def test_a_folded_network_computes_the_same(network: nn.Sequential) -> None:
    sized = next(m for m in network if isinstance(m, (nn.Linear, nn.BatchNorm1d)))
    assert_folds(network, sized.in_features if isinstance(sized, nn.Linear) else sized.num_features)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4), nn.Linear(4, 3)),
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.3), nn.BatchNorm1d(3), nn.Identity(), nn.BatchNorm1d(3)),
        lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.BatchNorm1d(4), nn.Linear(4, 3)),
        lambda: nn.Sequential(
            nn.Linear(4, 3, bias=False), nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 2, bias=False), nn.ReLU()
        ),
    ],
    ids=["input", "behind a Linear", "behind a ReLU at the input", "behind a ReLU"],
)
def test_batch_norms_are_folded_wherever_they_can_be(make: Callable[[], nn.Module]) -> None:
    assert_folds(with_statistics(make(), seed=3), 4)


def test_a_batch_norm_that_has_switched_a_feature_off_leaves_its_bias() -> None:
    network = with_statistics(nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)), seed=3)
    with torch.no_grad():
        network[0].weight[1] = 0.0
        network[0].bias[1] = 2.5
    assert_folds(network, 4)


class OfFunctions(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(4, 3), nn.Linear(3, 2)
        self.function = function

    def forward(self, x_BF: Tensor) -> Tensor:
        return self.out(self.function(self.hidden(torch.flatten(x_BF, 1))))  # type: ignore[no-any-return]


def test_a_network_of_ones_own_is_folded_by_what_it_computes() -> None:
    assert_folds(OfFunctions(functional.relu), 4)


class Named(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x_BF: Tensor) -> Tensor:
        return self.body(x_BF)  # type: ignore[no-any-return]


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 4)

    def forward(self, x_BF: Tensor) -> Tensor:
        return x_BF + self.hidden(x_BF)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Named(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), "layer body.1 (Tanh) cannot be quantised"),
        (Named(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)), "layer body.1 (GELU) cannot be quantised"),
        (Named(nn.Linear(4, 3), nn.LeakyReLU(), nn.Linear(3, 2)), "layer body.1 (LeakyReLU) cannot be quantised"),
        (OfFunctions(torch.sigmoid), "function Sigmoid cannot be quantised"),
        (Named(nn.Linear(4, 3), nn.LayerNorm(3)), "layer body.1 (LayerNorm)"),
        (Shortcut(), "layer hidden (Linear) does not follow the input in a plain chain"),
        (Named(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3)), "layer body.2 (BatchNorm1d) cannot be folded"),
        (
            Named(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)),
            "layer body.2 (BatchNorm1d) cannot be folded into a Linear: it stands behind a ReLU, and another ReLU",
        ),
        (Named(nn.BatchNorm1d(4), nn.ReLU()), "the network has no Linear"),
    ],
)
def test_anything_else_is_refused_by_name(network: nn.Module, said: str) -> None:
    with pytest.raises(QuantizationError, match=re.escape(said)):
        fold(network, **moments_of(4))


def test_moments_of_another_number_of_features_are_refused() -> None:
    with pytest.raises(QuantizationError, match="takes 4 features; give as many means, not 3"):
        fold(nn.Sequential(nn.Linear(4, 2)), **moments_of(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folding_knows_the_networks_precision(dtype: torch.dtype) -> None:
    chain = fold(nn.Sequential(nn.Linear(4, 2)).to(dtype), **moments_of(4))
    assert chain.dtype == dtype
    assert chain.stages[0].weight.dtype == torch.float64
