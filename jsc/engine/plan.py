"""What a network computes, as a short typed list of layers, and the NumPy interpreter of it.

The interpreter is the reference for compiled code and for whatever a plan is exported to. Shapes: N jets, F features,
C classes.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from jsc.engine.layers import Floats, Layer, Shape

MAX_CLASSES = 127  # a label is one byte


@dataclass(frozen=True)
class Plan:
    """A chain of layers from `num_features` inputs to `num_classes` logits, in `dtype` (float32 or float64)."""

    layers: tuple[Layer, ...]
    num_features: int
    num_classes: int
    dtype: torch.dtype

    def parameters(self) -> dict[str, Shape]:
        """Names in the model and shapes of what training changes, layer after layer."""
        return {name: shape for layer in self.layers for name, shape in layer.parameters().items()}

    def running(self) -> dict[str, Shape]:
        """Names in the model and shapes of running statistics, layer after layer."""
        return {name: shape for layer in self.layers for name, shape in layer.running().items()}

    def in_evaluation(self) -> "Plan":
        """Without the layers that act in training alone; parameters keep their order."""
        layers = tuple(layer for layer in self.layers if layer.acts_in_evaluation)
        return dataclasses.replace(self, layers=layers)


def interpret(plan: Plan, state: Mapping[str, Floats] | nn.Module, x_NF: Floats) -> Floats:
    """Logits [N, C] of a network in evaluation mode, layer by layer in NumPy.

    Args:
        state: the arrays of a state dict, or the model itself.
        x_NF: standardised features, float32 or float64, as the state's arrays are and the logits will be.

    Raises:
        ValueError: x or an array of the state has another shape or dtype than the plan and x say.
    """
    if isinstance(state, nn.Module):
        state = {name: tensor.detach().cpu().numpy() for name, tensor in state.state_dict().items()}
    if x_NF.ndim != 2 or x_NF.shape[1] != plan.num_features:
        raise ValueError(f"jets are {list(x_NF.shape)}; expected [N, {plan.num_features}]")
    for name, shape in (plan.parameters() | plan.running()).items():
        array = state[name]
        if (array.shape, array.dtype) != (shape, x_NF.dtype):
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}; expected {x_NF.dtype} {list(shape)}")
    for layer in plan.layers:
        x_NF = layer.forward(x_NF, state)
    return x_NF
