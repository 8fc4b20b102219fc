from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from jsc import models
from jsc.engine import CannotLower, lower
from jsc.engine.layers import BatchNorm, Dropout, GELUTanh, LeakyReLU, Linear, Sigmoid, Tanh
from jsc.engine.plan import Plan


@pytest.mark.parametrize("name", models.model_names())
def test_every_registered_model_lowers(name: str) -> None:
    model = models.build_model(name, num_features=16, num_classes=5)
    plan = lower(model)
    assert (plan.num_features, plan.num_classes, plan.dtype) == (16, 5, torch.float32)
    kinds = {nn.Linear: Linear, nn.BatchNorm1d: BatchNorm, nn.ReLU: LeakyReLU, nn.Dropout: Dropout}
    assert [type(layer) for layer in plan.layers] == [kinds[type(m)] for m in model]  # type: ignore[union-attr]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3, momentum=None)
        self.last = nn.Linear(3, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(torch.flatten(x, 1)).tanh())
        x = functional.leaky_relu(self.norm(x), 0.3).sigmoid()
        return self.last(functional.gelu(functional.relu(x, inplace=True), approximate="tanh"))


def test_functions_and_methods_lower() -> None:
    assert lower(Functional().double()) == Plan(
        (
            Linear("first", 4, 3, True),
            Tanh(),
            LeakyReLU(0.0),
            BatchNorm("norm", 3, 1e-5, None, True),
            LeakyReLU(0.3),
            Sigmoid(),
            LeakyReLU(0.0),
            GELUTanh(),
            Linear("last", 3, 2, False),
        ),
        4,
        2,
        torch.float64,
    )


def test_what_does_nothing_drops_out() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Dropout(0.0), nn.Linear(2, 2), nn.Dropout(0.5))
    assert lower(model).layers == (Linear("3", 2, 2, True), Dropout(0.5, 1))


def test_lowering_leaves_the_modes_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[1].eval()
    lower(model)
    assert [m.training for m in model.modules()] == [True, True, False]


class Model(nn.Module):
    """A Linear and whatever else."""

    def __init__(self, then: Callable[[nn.Module, torch.Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(3))
        del self.scale
        self.then = then

    def forward(self, x: torch.Tensor) -> Any:
        return self.then(self, self.linear(x))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.linear(x)


class OwnTrain(nn.Sequential):
    def train(self, mode: bool = True) -> "OwnTrain":
        return self


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class SubLinear(nn.Linear):
    pass


def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].bias.requires_grad_(False)
    return model


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    return model


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].register_forward_hook(lambda *_: None)
    return model


def tensor_hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].weight.register_hook(lambda gradient: gradient)
    return model


def transposed() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].weight = nn.Parameter(torch.ones(3, 3).t())
    return model


def mixed() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3).double())


def used_twice() -> nn.Module:
    linear = nn.Linear(3, 3)
    return nn.Sequential(linear, nn.ReLU(), linear)


def unused() -> nn.Module:
    model = Model(lambda self, x: x)
    model.other = nn.Linear(2, 2)
    return model


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)), r"layer 1 \(Softmax\) is not one that the fused engine knows"),
        (nn.Sequential(SubLinear(3, 3)), r"layer 0 \(SubLinear\)"),
        (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), r"layer 1 \(LayerNorm\) is not one"),
        (nn.Sequential(nn.Linear(3, 3), Scale()), "reads its attribute 1.scale outside a layer"),
        (nn.Sequential(nn.ReLU()), "the model has no parameters"),
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(5)), r"layer 1 \(BatchNorm1d\) expects 5 features and gets 4"),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)), "keeps no running statistics"),
        (nn.Sequential(nn.Linear(3, 128)), "the model has 128 classes; the fused engine does at most 127"),
        (nn.Sequential(nn.Flatten(0), nn.Linear(3, 3)), r"layer 0 \(Flatten\) flattens dimensions 0 to -1"),
        (nn.Sequential(nn.Linear(3, 3).half()), "parameter 0.weight is torch.float16"),
        (nn.Sequential(nn.Linear(3, 3, device="meta")), "parameter 0.weight is on meta"),
        (OwnTrain(nn.Linear(3, 3)), "has a train"),
        (TwoInputs(), "takes 2 inputs"),
        (frozen(), r"parameter 0.bias is frozen \(requires_grad is False\)"),
        (tied(), "parameter 1.weight is the same tensor as 0.weight"),
        (hooked(), r"layer 0 \(Linear\) has hooks"),
        (tensor_hooked(), "parameter 0.weight has hooks"),
        (transposed(), "parameter 0.weight is not contiguous"),
        (mixed(), "parameter 1.weight is torch.float64 but 0.weight torch.float32"),
        (used_twice(), "parameter 2.weight is the same tensor as 0.weight"),
        (unused(), "parameter other.weight takes no part"),
        (nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3))), "is parametrized"),
        (Model(lambda self, x: self.linear(x)), r"layer linear \(Linear\) is used more than once"),
        (Model(lambda self, x: x + x.relu()), "does not follow .* in a plain chain"),
        (Model(lambda self, x: x * 2), "function mul is not one"),
        (Model(lambda self, x: x.softmax(1)), "method softmax is not one"),
        (Model(lambda self, x: functional.dropout(x, 0.5)), "function dropout is not one"),
        (Model(lambda self, x: x.tanh(3)), r"method tanh has options that the fused engine does not know: \[3\]"),
        (Model(lambda self, x: functional.leaky_relu(x, negative_slope=x)), "options that are not plain numbers"),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3).double()), "parameter 1.weight is torch.float64"),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False).double()), "1.running_mean are torch.float64"),
        (Model(lambda self, x: torch.flatten(x)), "function flatten flattens dimensions 0 to -1"),
        (Model(lambda self, x: (x, 1)), "something other than one tensor"),
        (Model(lambda self, x: x if x.sum() > 0 else -x), "torch.fx cannot trace the model"),
        (Model(lambda self, x: x.relu() if self.training else x), "computes differently in training"),
    ],
)  # fmt: skip
def test_what_cannot_be_lowered_is_named(model: nn.Module, reason: str) -> None:
    with pytest.raises(CannotLower, match=reason):
        lower(model)
