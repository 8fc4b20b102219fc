"""hls4ml's floating-point reference (Duarte et al. 2018, arXiv:1804.06913)."""

from torch import nn

from jsc.models.registry import physical_info, register


@register(physical_info("jsc-mlp"))
def jsc_mlp(*, num_features: int, num_classes: int) -> nn.Module:
    """4,389 parameters; 64, 32, 32 hidden units and no BatchNorm."""
    return nn.Sequential(
        nn.Linear(num_features, 64),
        nn.ReLU(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, num_classes),
    )
