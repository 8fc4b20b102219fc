"""Networks, by name. A model of your own registers itself with `register` and `ModelInfo` from here."""

from jsc.models import hls4ml, labs, mase
from jsc.models.registry import (
    ModelInfo,
    RegisteredModel,
    build_model,
    find_model,
    is_traceable,
    load_entry_points,
    model_names,
    num_macs,
    num_parameters,
    register,
)

__all__ = [
    "ModelInfo",
    "RegisteredModel",
    "build_model",
    "find_model",
    "hls4ml",
    "is_traceable",
    "labs",
    "load_entry_points",
    "mase",
    "model_names",
    "num_macs",
    "num_parameters",
    "register",
]
