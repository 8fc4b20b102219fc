from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from jsc.engine import CounterDropout, count_dropout, set_dropout_step
from jsc.engine.dropout import dropout_factors


def bits(**changes: int) -> torch.Tensor:
    values = {"seed": 1, "step": 2, "layer": 0, **changes}
    return dropout_factors(torch.empty(4096, 64), rate=0.5, **values) > 0


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_rate_is_kept_and_so_is_the_mean(rate: float) -> None:
    factors = dropout_factors(torch.empty(5000, 40, dtype=torch.float64), seed=3, step=5, layer=1, rate=rate)
    dropped = (factors == 0).double().mean().item()
    assert dropped == pytest.approx(rate, abs=5 * (rate * (1 - rate) / factors.numel()) ** 0.5 + 1e-12)
    assert factors.max().item() == pytest.approx(1 / (1 - rate) if rate < 1 else 0.0)


@pytest.mark.parametrize(
    "change", [{"first_row": 4096}, {"seed": 2}, {"seed": -1}, {"seed": 1 + 2**40}, {"step": 3}, {"layer": 1}]
)
def test_streams_are_independent(change: dict[str, int]) -> None:
    agreement = (bits() == bits(**change)).double().mean().item()
    assert agreement == pytest.approx(0.5, abs=5 * 0.5 / bits().numel() ** 0.5)


def test_neighbours_are_independent() -> None:
    """Bits agree with those of the next element, the next jet and the same element one step on half of the time."""
    stream = bits().double() * 2 - 1
    flat = stream.flatten()
    bound = 5 / flat.numel() ** 0.5
    for lag in (1, 2, 3, 16, 64, 128, 1000):
        assert abs((flat[lag:] * flat[:-lag]).mean().item()) < bound
    assert stream.mean(0).abs().max().item() < 5 / 4096**0.5
    assert stream.mean(1).abs().max().item() < 6 / 64**0.5


def test_outcomes_fill_the_range_evenly() -> None:
    """Counts below 16 thresholds, chi-squared with 15 degrees of freedom: 99.99 % lie under 44.3."""
    x = torch.empty(1000, 64)
    kept = [(dropout_factors(x, seed=0, step=0, layer=0, rate=i / 16) > 0).sum().item() for i in range(16)]
    counts = np.array(kept) - np.array([*kept[1:], 0])
    assert ((counts - 4000) ** 2 / 4000).sum() < 44.3


def test_dropouts_are_replaced_under_their_own_names() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.25), nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)))
    keys = list(model.state_dict())
    model[2].eval()
    counted = count_dropout(model, seed=11)
    assert list(model.state_dict()) == keys
    assert [(m.p, m.seed, m.layer, m.training) for m in counted] == [(0.25, 11, 0, True), (0.5, 11, 1, False)]
    assert count_dropout(model, seed=12)[1].seed == 12  # again, with another seed


def test_the_step_decides() -> None:
    model = nn.Sequential(CounterDropout(0.5, seed=0, layer=0))
    x = torch.ones(8, 8)
    first = model(x)
    assert torch.equal(model(x), first)
    set_dropout_step(model, 1)
    assert not torch.equal(model(x), first)
    model.eval()
    assert torch.equal(model(x), x)


@pytest.mark.parametrize("shape", [(), (7,), (6, 1), (4, 3, 5), (2, 3, 4, 5)])
def test_inputs_of_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    dropout = CounterDropout(0.5, seed=4, layer=0)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 1.0
    y = dropout(x)
    assert y.shape == shape
    assert torch.equal(y.flatten(), dropout(x.reshape(-1, 1)).flatten())  # elements are counted, whatever the shape
    assert set((y / x).flatten().tolist()) <= {0.0, 2.0}


@pytest.mark.parametrize("shape", [(9, 8), (9, 2, 4)])
def test_ranks_and_micro_batches_together_draw_what_one_batch_draws(shape: tuple[int, ...]) -> None:
    model = nn.Sequential(CounterDropout(0.5, seed=0, layer=0), CounterDropout(0.3, seed=0, layer=1))
    x = torch.ones(shape)
    set_dropout_step(model, 5)
    whole = model(x)
    parts = []
    for begin, end in ((0, 2), (2, 6), (6, 9)):
        set_dropout_step(model, 5, first_row=begin)
        parts.append(model(x[begin:end]))
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(parts[0], parts[1][:2])
    set_dropout_step(model, 5)  # back at the first row
    assert torch.equal(model(x), whole)


class Devices(TorchFunctionMode):
    """The devices of all tensors that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outcome = func(*args, **(kwargs or {}))
        if isinstance(outcome, torch.Tensor):
            self.seen.add(outcome.device.type)
        return outcome


def test_masks_are_drawn_where_the_input_lies() -> None:
    dropout = CounterDropout(0.5, seed=0, layer=0)
    x = torch.ones(4, 3, device="meta")
    with Devices() as devices:
        dropout(x)
    assert devices.seen == {"meta"}


def test_a_bare_dropout_cannot_be_replaced() -> None:
    with pytest.raises(ValueError, match=r"put it into an nn\.Sequential"):
        count_dropout(nn.Dropout(), seed=0)
