"""The networks that students designed in the labs of MASE's course, about ten times jsc-tiny or jsc-toy."""

from torch import nn

from jsc.models.blocks import normalized
from jsc.models.registry import physical_info, register


@register(physical_info("jsc-medium"))
def jsc_medium(*, num_features: int, num_classes: int) -> nn.Module:
    """1,407 parameters."""
    return nn.Sequential(*normalized(num_features, 32, 16, 8, num_classes))


@register(physical_info("jsc-tiny-x10"))
def jsc_tiny_x10(*, num_features: int, num_classes: int) -> nn.Module:
    """1,997 parameters, without a ReLU on its logits."""
    return nn.Sequential(*normalized(num_features, 40, 25), nn.Linear(25, num_classes))


@register(physical_info("jsc-my"))
def jsc_my(*, num_features: int, num_classes: int) -> nn.Module:
    """1,333 parameters."""
    return nn.Sequential(*normalized(num_features, 16, 16, 16, 16), nn.Linear(16, num_classes), nn.ReLU())


@register(physical_info("jsc-test"))
def jsc_test(*, num_features: int, num_classes: int) -> nn.Module:
    """11,015 parameters (its report says 11.7k)."""
    return nn.Sequential(*normalized(num_features, 64, 128, 8, 8, num_classes))
