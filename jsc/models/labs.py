"""The networks that students designed in the labs of MASE's course, about ten times jsc-tiny or jsc-toy."""

from torch import nn

from jsc.models.registry import physical_info, register


@register(physical_info("jsc-medium"))
def jsc_medium(*, num_features: int, num_classes: int) -> nn.Module:
    """1,407 parameters."""
    return nn.Sequential(
        nn.BatchNorm1d(num_features),
        nn.ReLU(),
        nn.Linear(num_features, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, num_classes),
        nn.BatchNorm1d(num_classes),
        nn.ReLU(),
    )


@register(physical_info("jsc-tiny-x10"))
def jsc_tiny_x10(*, num_features: int, num_classes: int) -> nn.Module:
    """1,997 parameters, without a ReLU on its logits."""
    return nn.Sequential(
        nn.BatchNorm1d(num_features),
        nn.ReLU(),
        nn.Linear(num_features, 40),
        nn.BatchNorm1d(40),
        nn.ReLU(),
        nn.Linear(40, 25),
        nn.BatchNorm1d(25),
        nn.ReLU(),
        nn.Linear(25, num_classes),
    )


@register(physical_info("jsc-my"))
def jsc_my(*, num_features: int, num_classes: int) -> nn.Module:
    """1,333 parameters."""
    return nn.Sequential(
        nn.BatchNorm1d(num_features),
        nn.ReLU(),
        nn.Linear(num_features, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, num_classes),
        nn.ReLU(),
    )


@register(physical_info("jsc-test"))
def jsc_test(*, num_features: int, num_classes: int) -> nn.Module:
    """11,015 parameters (its report says 11.7k)."""
    return nn.Sequential(
        nn.BatchNorm1d(num_features),
        nn.ReLU(),
        nn.Linear(num_features, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Linear(64, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(),
        nn.Linear(128, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, num_classes),
        nn.BatchNorm1d(num_classes),
        nn.ReLU(),
    )
