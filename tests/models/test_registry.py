import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from jsc import models
from jsc.models import ModelInfo, build_model, registry

# The design's table; MASE's counts but for jsc-tiny, whose last BatchNorm MASE has lost.
NUM_PARAMETERS = {
    "jsc-toy": 327,
    "jsc-tiny": 127,
    "jsc-s": 5615,
    "jsc-trt": 3231,
    "jsc-medium": 1407,
    "jsc-tiny-x10": 1997,
    "jsc-my": 1333,
    "jsc-test": 11015,
    "jsc-mlp": 4389,
}
# Inputs times outputs of each Linear of the same table, summed.
NUM_MACS = {
    "jsc-toy": 16 * 8 + 8 * 8 + 8 * 5,
    "jsc-tiny": 16 * 5,
    "jsc-s": 16 * 64 + 64 * 32 + 32 * 32 + 32 * 32 + 32 * 5,
    "jsc-trt": 16 * 32 + 32 * 48 + 48 * 16 + 16 * 5,
    "jsc-medium": 16 * 32 + 32 * 16 + 16 * 8 + 8 * 5,
    "jsc-tiny-x10": 16 * 40 + 40 * 25 + 25 * 5,
    "jsc-my": 4 * 16 * 16 + 16 * 5,
    "jsc-test": 16 * 64 + 64 * 128 + 128 * 8 + 8 * 8 + 8 * 5,
    "jsc-mlp": 16 * 64 + 64 * 32 + 32 * 32 + 32 * 5,
}
MASE_FIELDS = {
    "name", "model_source", "task_type", "physical_data_point_classification",
    "is_quantized", "is_lora", "is_sparse", "is_fx_traceable",
}  # fmt: skip


@pytest.fixture
def registry_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))


def test_the_nine_models_are_there() -> None:
    assert set(models.model_names()) == set(NUM_PARAMETERS)


@pytest.mark.parametrize("name", NUM_PARAMETERS)
def test_parameters_are_the_designs(name: str) -> None:
    assert models.num_parameters(build_model(name, num_features=16, num_classes=5)) == NUM_PARAMETERS[name]


@pytest.mark.parametrize("name", NUM_MACS)
def test_macs_are_the_designs(name: str) -> None:
    assert models.num_macs(build_model(name, num_features=16, num_classes=5), num_features=16) == NUM_MACS[name]


class Attentive(nn.Module):
    """A convolution of width 3 from 1 to 8 channels over 16 features, self-attention over the 14 places, a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 8, 3)
        self.encoder = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=4, batch_first=True)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.encoder(self.convolution(x[:, None]).mT).mean(1))


@pytest.mark.parametrize("gradients", [True, False])
def test_macs_of_convolutions_and_attention_count(gradients: bool) -> None:
    model = Attentive()
    model.linear.eval()
    attention = 14 * 8 * 24 + 2 * 14 * 14 * 8 + 14 * 8 * 8  # projections in, scores and sums, projection out
    with torch.set_grad_enabled(gradients):
        macs = models.num_macs(model, num_features=16)
    assert macs == 14 * 3 * 8 + attention + 2 * 14 * 8 * 4 + 8 * 5
    assert model.training
    assert not model.linear.training


@pytest.mark.parametrize("name", NUM_PARAMETERS)
@pytest.mark.parametrize(("num_features", "num_classes"), [(16, 5), (3, 2)])
def test_sizes_come_from_the_dataset(name: str, num_features: int, num_classes: int) -> None:
    model = build_model(name, num_features=num_features, num_classes=num_classes)
    assert model(torch.zeros(4, num_features)).shape == (4, num_classes)


def test_facts_bear_mases_names() -> None:
    assert {field.name for field in dataclasses.fields(ModelInfo)} == MASE_FIELDS


@pytest.mark.parametrize("name", NUM_PARAMETERS)
def test_whoever_announces_a_trace_can_be_traced(name: str) -> None:
    assert models.find_model(name).info.is_fx_traceable
    assert models.is_traceable(build_model(name, num_features=16, num_classes=5))


def test_a_model_that_branches_on_its_input_is_not_traceable() -> None:
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    assert not models.is_traceable(Branching())


@pytest.mark.usefixtures("registry_as_it_was")
def test_a_taken_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'jsc-tiny' is already registered by jsc\.models\.mase\.jsc_tiny"):
        models.register(ModelInfo(name="jsc-tiny", model_source="physical", task_type="physical"))(nn.Identity)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no model 'jsc_tinny'. Did you mean 'jsc-tiny'\? Registered: jsc-mlp, "):
        models.find_model("jsc_tinny")


@pytest.mark.usefixtures("registry_as_it_was")
def test_options_reach_the_constructor() -> None:
    @models.register(ModelInfo(name="wide", model_source="physical", task_type="physical"))
    def wide(*, num_features: int, num_classes: int, width: int = 8) -> nn.Module:
        return nn.Sequential(nn.Linear(num_features, width), nn.Linear(width, num_classes))

    model = build_model("wide", num_features=16, num_classes=5, options={"width": 3})
    assert models.num_macs(model, num_features=16) == 16 * 3 + 3 * 5
    with pytest.raises(ValueError, match="'wide' does not take depth; its options are width"):
        build_model("wide", num_features=16, num_classes=5, options={"depth": 3})
    with pytest.raises(ValueError, match="'jsc-tiny' does not take width; it has no options"):
        build_model("jsc-tiny", num_features=16, num_classes=5, options={"width": 3})
    with pytest.raises(ValueError, match=r"model 'wide' cannot be built with width='abc': TypeError: empty\(\).*[^*]$"):
        build_model("wide", num_features=16, num_classes=5, options={"width": "abc"})


@pytest.mark.usefixtures("registry_as_it_was")
def test_installed_packages_announce_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "announced.py").write_text(
        "from torch import nn\nfrom jsc.models import ModelInfo, register\n\n"
        "@register(ModelInfo(name='announced', model_source='physical', task_type='physical'))\n"
        "def announced(*, num_features, num_classes):\n    return nn.Linear(num_features, num_classes)\n"
    )
    info = tmp_path / "announced-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: announced\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[jsc.models]\nannounced = announced\n")
    monkeypatch.syspath_prepend(tmp_path)
    models.load_entry_points.cache_clear()
    models.load_entry_points()
    monkeypatch.delitem(sys.modules, "announced")
    assert models.num_parameters(build_model("announced", num_features=16, num_classes=5)) == 85
