"""Networks, jets and numbers that the tests of this room share."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from jsc.datasets import JetSample
from jsc.hardware.network import Network
from jsc.quantization import QuantizedNetwork, quantize_network, to_network

GRANULARITIES = ("tensor", "output", "weight")


def real_jets(num_jets: int) -> Tensor:
    """Raw features of the bundled sample, float32 [N, 16]."""
    return torch.from_numpy(JetSample().read().features_NF[:num_jets])


def moments(x_NF: Tensor) -> dict[str, Tensor]:
    return {"mean_F": x_NF.double().mean(0), "std_F": x_NF.double().std(0)}


def with_statistics(network: nn.Module, seed: int) -> nn.Module:
    """Give every BatchNorm statistics and weights of its own, some negative; and evaluate."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            for tensor in (module.running_mean, module.weight, module.bias):
                if tensor is not None:
                    tensor.data.copy_(torch.randn(tensor.shape, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.1)
    return network.eval()


def quantized(network: nn.Module, jets_NF: Tensor, **options: Any) -> QuantizedNetwork:
    """For these jets, with bits that keep sums below 2^24, unless options say otherwise."""
    usual = {"x_NF": jets_NF, "weight_bits": 6, "activation_bits": 6, "input_bits": 8, "bias_bits": 8}
    return quantize_network(network, **moments(jets_NF), **{**usual, "percentile": 99.0, **options})


def exported(network: QuantizedNetwork) -> Network:
    num_classes = network.linears()[-1][2].out_features
    return to_network(
        network,
        model="drawn",
        feature_names=[f"x{i}" for i in range(len(network.encoder.offset))],
        class_names=[f"y{i}" for i in range(num_classes)],
        dataset="none",
        dataset_variant="none",
        dataset_sha256="",
        seed=0,
        selected_by="val_loss",
        version="0",
    )


def assert_integers_equal(network: QuantizedNetwork, x_NF: Tensor) -> None:
    """Raw features give the same logits in torch, whatever its precision, and in the integers of network.json."""
    record = exported(network.eval())
    expected_NC = record.logits(record.quantize(x_NF.numpy()))
    for dtype in (torch.float32, torch.float64):
        with torch.no_grad():
            logits_NC = network.to(dtype)(x_NF)
        assert logits_NC.dtype == dtype
        assert np.array_equal(np.ldexp(logits_NC.double().numpy(), record.output_fraction_bits), expected_NC)
        assert np.array_equal(logits_NC.argmax(1).numpy(), record.predict(x_NF.numpy()))


def assert_inputs_equal(network: QuantizedNetwork, n_NF: "np.typing.NDArray[np.int64]") -> None:
    """The circuit's inputs, any within their ranges, give the same logits in torch and in integers."""
    record = exported(network.eval())
    t_NF = torch.from_numpy(np.ldexp(n_NF.astype(np.float64), -record.input.fraction_bits))
    for dtype in (torch.float32, torch.float64):
        with torch.no_grad():
            logits_NC = network.to(dtype).classify(t_NF.to(dtype))
        assert np.array_equal(np.ldexp(logits_NC.double().numpy(), record.output_fraction_bits), record.logits(n_NF))


def inputs_of(network: QuantizedNetwork, num_random: int, seed: int) -> "np.typing.NDArray[np.int64]":
    """Random inputs of the circuit over their full ranges, then corners: all low, all high, each alone at its high."""
    record = exported(network)
    low, high = record.input.low, record.input.high
    random_NF = np.random.default_rng(seed).integers(low, high + 1, (num_random, len(low)))
    return np.vstack([random_NF, low, high, np.where(np.eye(len(low), dtype=bool), high, low)])


@st.composite
def chains(draw: st.DrawFn) -> nn.Sequential:
    """A network that can be quantised: any order of layers that `fold` takes, of drawn widths and weights."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    width = draw(st.integers(1, 9))
    num_linears = draw(st.integers(1, 4))
    layers: list[nn.Module] = [nn.Flatten()] if draw(st.booleans()) else []
    for number in range(num_linears + 1):
        if number > 0:
            linear = nn.Linear(width, draw(st.integers(1, 9)), bias=draw(st.booleans()))
            width = linear.out_features
            linear.weight.data *= draw(st.sampled_from([0.0, 0.01, 1.0, 30.0]))
            layers.append(linear)
        layers.extend(draw(_in_between(width)))
        if draw(st.booleans()):
            layers.append(nn.ReLU())
            layers.extend(draw(_in_between(width)) if number < num_linears else [])
    return with_statistics(nn.Sequential(*layers), draw(st.integers(0, 2**31)))


@st.composite
def _in_between(draw: st.DrawFn, width: int) -> list[nn.Module]:
    kinds = st.sampled_from(["norm", "plain norm", "dropout", "identity"])
    made = {
        "norm": lambda: nn.BatchNorm1d(width),
        "plain norm": lambda: nn.BatchNorm1d(width, affine=False),
        "dropout": lambda: nn.Dropout(0.5),
        "identity": nn.Identity,
    }
    return [made[kind]() for kind in draw(st.lists(kinds, max_size=2))]
