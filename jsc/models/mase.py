"""The networks of MASE's zoo: LogicNets' jet-substructure networks in floating point.

Each ends in a ReLU on the logits, as in MASE: a class whose logit dies is never predicted.
"""

from torch import nn

from jsc.models.blocks import normalized
from jsc.models.registry import physical_info, register


@register(physical_info("jsc-toy"))
def jsc_toy(*, num_features: int, num_classes: int) -> nn.Module:
    """327 parameters."""
    return nn.Sequential(*normalized(num_features, 8, 8, num_classes))


@register(physical_info("jsc-tiny"))
def jsc_tiny(*, num_features: int, num_classes: int) -> nn.Module:
    """127 parameters, with the last BatchNorm that the labs' version has and MASE's current one has lost."""
    return nn.Sequential(*normalized(num_features, num_classes))


@register(physical_info("jsc-s"))
def jsc_s(*, num_features: int, num_classes: int) -> nn.Module:
    """LogicNets' JSC-S, 5,615 parameters."""
    return nn.Sequential(
        *normalized(num_features, 64),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, num_classes),
        nn.BatchNorm1d(num_classes),
        nn.ReLU(),
    )


@register(physical_info("jsc-trt"))
def jsc_trt(*, num_features: int, num_classes: int) -> nn.Module:
    """MASE's network for its TensorRT tutorials, 3,231 parameters, the one with Dropout."""
    return nn.Sequential(
        *normalized(num_features, 32, 48),
        nn.Dropout(0.5),
        nn.Linear(48, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, num_classes),
        nn.BatchNorm1d(num_classes),
        nn.ReLU(),
    )
