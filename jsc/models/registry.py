"""The model registry: a name maps to a constructor and the facts about it.

Field names are those of MASE's `MaseModelInfo`, so that a model written for one can be plugged into the other.
"""

import difflib
import functools
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from jsc.engine.lowering import modes_kept

ModelConstructor = Callable[..., nn.Module]

ENTRY_POINT_GROUP = "jsc.models"


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model before it is built.

    `model_source` says where the architecture is from ("physical": this field's own), `task_type` what it is for.
    """

    name: str
    model_source: str
    task_type: str
    physical_data_point_classification: bool = False
    is_quantized: bool = False
    is_lora: bool = False
    is_sparse: bool = False
    is_fx_traceable: bool = False


def physical_info(name: str) -> ModelInfo:
    """The facts that all floating-point networks of this field share."""
    return ModelInfo(
        name=name,
        model_source="physical",
        task_type="physical",
        physical_data_point_classification=True,
        is_fx_traceable=True,
    )


@dataclass(frozen=True)
class RegisteredModel:
    """A constructor, called with `num_features`, `num_classes` and the model's own options, and its facts."""

    info: ModelInfo
    constructor: ModelConstructor


_MODELS: dict[str, RegisteredModel] = {}


def register(info: ModelInfo) -> Callable[[ModelConstructor], ModelConstructor]:
    """Decorate a constructor `(*, num_features: int, num_classes: int, **options) -> nn.Module` to register it.

    Raises ValueError if the name is taken.
    """

    def decorate(constructor: ModelConstructor) -> ModelConstructor:
        if info.name in _MODELS:
            taken_by = _MODELS[info.name].constructor
            raise ValueError(
                f"model name {info.name!r} is already registered by {taken_by.__module__}.{taken_by.__qualname__}; "
                f"give {constructor.__module__}.{constructor.__qualname__} another name"
            )
        _MODELS[info.name] = RegisteredModel(info, constructor)
        return constructor

    return decorate


@functools.cache
def load_entry_points() -> None:
    """Once a process: import every installed module that announces models, under the entry-point group `jsc.models`."""
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        entry_point.load()


def model_names() -> list[str]:
    """Registered names, in order of registration."""
    return list(_MODELS)


def find_model(name: str) -> RegisteredModel:
    """Raises ValueError, with the nearest names, if `name` is not registered."""
    if name not in _MODELS:
        nearest = difflib.get_close_matches(name.replace("_", "-"), _MODELS, n=1)
        hint = f"Did you mean {nearest[0]!r}? " if nearest else ""
        raise ValueError(
            f"there is no model {name!r}. {hint}Registered: {', '.join(_MODELS)}. "
            "A model of your own comes in with plugins=[your_module]."
        )
    return _MODELS[name]


def build_model(
    name: str, *, num_features: int, num_classes: int, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Build a registered model, freshly initialised from torch's global generator.

    Args:
        num_features: inputs a jet, F.
        num_classes: logits a jet, C.
        options: further keyword arguments of that model's constructor.

    Raises:
        ValueError: no such model, an option that its constructor does not take, or the constructor's own error.
    """
    registered = find_model(name)
    options = options or {}
    taken = option_names(registered.constructor)
    unknown = sorted(set(options) - taken)
    if unknown:
        allowed = f"its options are {', '.join(sorted(taken))}" if taken else "it has no options"
        raise ValueError(f"model {name!r} does not take {', '.join(unknown)}; {allowed}")
    try:
        return registered.constructor(num_features=num_features, num_classes=num_classes, **options)
    except Exception as error:  # it may be the user's code, and raise anything
        told = ", ".join(f"{option}={value!r}" for option, value in options.items()) or "no options"
        said = (str(error).splitlines() or [""])[0]  # torch lists all that it could have been given
        raise ValueError(f"model {name!r} cannot be built with {told}: {type(error).__name__}: {said}") from error


def option_names(constructor: ModelConstructor) -> set[str]:
    """Names of the keyword arguments that a constructor takes besides the two sizes."""
    return set(inspect.signature(constructor).parameters) - {"num_features", "num_classes"}


def num_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def num_macs(model: nn.Module, *, num_features: int) -> int:
    """Multiply-accumulates of one jet, counted by torch in a forward pass in evaluation mode.

    Products of matrices, convolutions and attention count; what is done to each number for itself, BatchNorm (which
    folds into a Linear) included, does not. A network that cannot score one jet of zeros raises its own error.
    """
    like = next(model.parameters(), torch.zeros(0))
    x_1F = torch.zeros(1, num_features, dtype=like.dtype, device=like.device)
    # With gradients, and attention as plain products: shortcuts without them are counted as nothing.
    with (
        modes_kept(model),
        torch.enable_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        model.eval()(x_1F)
    return int(counter.get_total_flops()) // 2


def is_traceable(model: nn.Module) -> bool:
    """Whether torch.fx can trace the model symbolically, found out by tracing it."""
    try:
        fx.symbolic_trace(model)
    except Exception:  # fx raises whatever the traced code raises on a Proxy
        return False
    return True
