import pytest
import torch
from quantized_networks import exported, quantized, real_jets
from torch import nn

from jsc.quantization import density_at, fan_in_mask, prune


def test_each_output_has_its_fan_in_drawn_from_the_seed() -> None:
    mask = fan_in_mask(num_in=16, num_out=64, fan_in=4, seed=3, layer=0)
    assert mask.shape == (64, 16)
    assert mask.sum(1).tolist() == [4] * 64
    assert (mask.sum(0) > 0).all()
    assert torch.equal(mask, fan_in_mask(num_in=16, num_out=64, fan_in=4, seed=3, layer=0))
    for other in ({"seed": 4, "layer": 0}, {"seed": 3, "layer": 1}):
        assert not torch.equal(mask, fan_in_mask(num_in=16, num_out=64, fan_in=4, **other))
    assert fan_in_mask(num_in=3, num_out=2, fan_in=4, seed=0, layer=0).all()


def test_the_density_falls_from_one_to_what_was_asked() -> None:
    densities = [density_at(i / 10, prune_to=0.2, until=0.5) for i in range(11)]
    assert densities[0] == 1
    assert densities[5:] == [0.2] * 6
    assert densities[:6] == sorted(densities[:6], reverse=True)
    assert densities[1] == pytest.approx(0.2 + 0.8 * 0.8**3)


def test_pruning_leaves_the_largest_weights_and_never_brings_one_back() -> None:
    made = quantized(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5)), real_jets(100))
    (_, _, first), (_, _, last) = made.linears()
    prune(made, 0.25)
    assert (int(first.mask.sum()), int(last.mask.sum())) == (32, 10)
    assert first.weight.abs()[first.mask].min() >= first.weight.abs()[~first.mask].max()
    before = first.mask.clone()
    with torch.no_grad():
        first.weight[~first.mask] = 100.0
    prune(made, 0.2)
    assert int(first.mask.sum()) == 26
    assert (before | ~first.mask).all()
    prune(made, 0.9)
    assert int(first.mask.sum()) == 26
    assert made.layers[0].quantized_weight()[~first.mask].abs().sum() == 0
    assert exported(made).num_nonzero_weights <= 26 + 8


def test_pruning_counts_from_the_fan_in_and_leaves_one_weight() -> None:
    made = quantized(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5)), real_jets(100), fan_in=4)
    (_, _, first), _ = made.linears()
    connected = first.mask.clone()
    prune(made, 0.5)
    assert int(first.mask.sum()) == 16
    assert (connected | ~first.mask).all()
    prune(made, 0.0)
    assert int(first.mask.sum()) == 1


def test_pruned_weights_get_no_gradient_and_stay_zero_when_trained() -> None:
    made = quantized(nn.Sequential(nn.Linear(16, 5)), real_jets(300), granularity="weight", is_learned=True)
    prune(made, 0.3)
    mask = made.linears()[0][2].mask.clone()
    optimizer = torch.optim.Adam(made.parameters(), lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        made(real_jets(300)).square().mean().backward()
        optimizer.step()
    weights = exported(made).layers[0].weights
    assert (weights[~mask.numpy()] == 0).all()
    assert (weights != 0).any()
