"""Networks, by name. A model of your own registers itself with `register` and `ModelInfo` from here.

The families register theirs, and torch is imported, when one of these names is first asked for: `python -m jsc.models
--help` and an entry that only checks its settings do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        option_names,
        register,
    )

FAMILIES = ("hls4ml", "labs", "mase")

__all__ = [
    "ModelInfo",
    "RegisteredModel",
    "build_model",
    "find_model",
    "is_traceable",
    "load_entry_points",
    "model_names",
    "num_macs",
    "num_parameters",
    "option_names",
    "register",
]


def __getattr__(name: str) -> Any:
    if name not in ("registry", *__all__):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    registry = import_module("jsc.models.registry")
    for family in FAMILIES:
        import_module(f"jsc.models.{family}")
    return registry if name == "registry" else getattr(registry, name)
