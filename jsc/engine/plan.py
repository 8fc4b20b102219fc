"""What a network computes, as a short typed list of layers: lowered from a torch.fx trace, or refused with a reason.

Adding a layer: a dataclass here, a rule in `_lower_module` (or `_FUNCTIONS`), its numbers in `jsc.engine.program`,
its arithmetic in `jsc.engine.layers`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from jsc.engine.dropout import CounterDropout


class CannotLower(ValueError):  # noqa: N818  # what it says, in few words
    """The fused engine cannot run this; the message names the layer or option that forced it."""


MAX_CLASSES = 127  # a label is one byte


@dataclass(frozen=True)
class Linear:
    """`name` is the module's path in the model, where its parameters are found."""

    name: str
    num_in: int
    num_out: int
    has_bias: bool


@dataclass(frozen=True)
class BatchNorm:
    """`momentum` None is the cumulative average that torch keeps then."""

    name: str
    width: int
    eps: float
    momentum: float | None
    affine: bool


@dataclass(frozen=True)
class Activation:
    """An elementwise function; `slope` is LeakyReLU's."""

    kind: Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "gelu_tanh"]
    slope: float = 0.0


@dataclass(frozen=True)
class Dropout:
    """`number` counts the model's Dropout modules: it tells their random streams apart."""

    rate: float
    number: int


Layer = Linear | BatchNorm | Activation | Dropout


@dataclass(frozen=True)
class Plan:
    """A chain of layers from `num_features` inputs to `num_classes` logits, in `dtype` (float32 or float64)."""

    layers: tuple[Layer, ...]
    num_features: int
    num_classes: int
    dtype: torch.dtype


_FUNCTIONS: dict[Any, Literal["relu", "tanh", "sigmoid", "leaky_relu", "gelu", "flatten"]] = {
    functional.relu: "relu",
    torch.relu: "relu",
    "relu": "relu",
    torch.tanh: "tanh",
    functional.tanh: "tanh",
    "tanh": "tanh",
    torch.sigmoid: "sigmoid",
    functional.sigmoid: "sigmoid",
    "sigmoid": "sigmoid",
    functional.leaky_relu: "leaky_relu",
    functional.gelu: "gelu",
    torch.flatten: "flatten",
    "flatten": "flatten",
}


def lower(model: nn.Module) -> Plan:
    """The plan of a model. Raises CannotLower."""
    _check_modules(model)
    dtype = _check_parameters(model)
    layers: list[Layer] = []
    for node in _chain(model):
        layers.extend(_lower_node(node, model))
    _check_all_used(model, layers)
    widths = _widths(layers)
    if widths[-1] > MAX_CLASSES:
        raise CannotLower(f"the model has {widths[-1]} classes; the fused engine does at most {MAX_CLASSES}")
    return Plan(tuple(layers), num_features=widths[0], num_classes=widths[-1], dtype=dtype)


def _check_modules(model: nn.Module) -> None:
    for name, module in model.named_modules():
        what = f"layer {name or '(the model)'} ({type(module).__name__})"
        if parametrize.is_parametrized(module):
            raise CannotLower(f"{what} is parametrized")
        hooks = (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
        if any(hooks):
            raise CannotLower(f"{what} has hooks, which the fused engine would not call")
        if type(module).train is not nn.Module.train:
            raise CannotLower(f"{what} has a train() of its own")


def _check_parameters(model: nn.Module) -> torch.dtype:
    parameters = list(model.named_parameters(remove_duplicate=False))
    if not parameters:
        raise CannotLower("the model has no parameters")
    seen: dict[int, str] = {}
    for name, parameter in parameters:
        if id(parameter) in seen:
            raise CannotLower(f"parameter {name} is the same tensor as {seen[id(parameter)]}")
        seen[id(parameter)] = name
        if not parameter.requires_grad:
            raise CannotLower(f"parameter {name} is frozen (requires_grad is False)")
        if parameter.device.type != "cpu":
            raise CannotLower(f"parameter {name} is on {parameter.device}; the fused engine runs on the CPU")
        if parameter.dtype not in (torch.float32, torch.float64):
            raise CannotLower(f"parameter {name} is {parameter.dtype}; the fused engine does float32 and float64")
        if parameter.dtype != parameters[0][1].dtype:
            raise CannotLower(f"parameter {name} is {parameter.dtype} but {parameters[0][0]} {parameters[0][1].dtype}")
        if not parameter.is_contiguous():
            raise CannotLower(f"parameter {name} is not contiguous in memory")
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise CannotLower(f"parameter {name} has hooks, which the fused engine would not call")
    return parameters[0][1].dtype


_TRACING = threading.Lock()  # while it traces, fx patches torch for the whole process


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(_MODULES)) or super().is_leaf_module(m, module_qualified_name)


@contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _chain(model: nn.Module) -> list[fx.Node]:
    """The nodes between the input and the output, each of which must feed the next and nothing else."""
    graphs = []
    with _TRACING, _modes_kept(model):
        for training in (True, False):
            model.train(training)
            try:
                graphs.append(_Tracer().trace(model))
            except Exception as error:  # fx raises whatever the traced code raises on a Proxy
                raise CannotLower(f"torch.fx cannot trace the model: {error}") from error
    if str(graphs[0]) != str(graphs[1]):
        raise CannotLower("the model computes differently in training and evaluation beyond BatchNorm and Dropout")
    nodes = list(graphs[0].nodes)
    if [n.op for n in nodes].count("placeholder") != 1:
        raise CannotLower(f"the model takes {[n.op for n in nodes].count('placeholder')} inputs, not 1")
    before = nodes[0]
    for node in nodes[1:]:
        if node.op == "get_attr":
            raise CannotLower(f"the model reads its attribute {node.target} outside a layer")
        if node.all_input_nodes != [before] or list(before.users) != [node]:
            raise CannotLower(f"{_describe(node, model)} does not follow {_describe(before, model)} in a plain chain")
        before = node
    if nodes[-1].args[0] is not nodes[-2]:
        raise CannotLower("the model returns something other than one tensor of logits")
    return nodes[1:-1]


def _describe(node: fx.Node, model: nn.Module) -> str:
    if node.op == "call_module":
        return f"layer {node.target} ({type(model.get_submodule(str(node.target))).__name__})"
    if node.op == "call_function":
        return f"function {getattr(node.target, '__name__', node.target)}"
    if node.op == "call_method":
        return f"method {node.target}"
    return {"placeholder": "the input", "output": "the output"}.get(node.op, node.name)


def _lower_node(node: fx.Node, model: nn.Module) -> list[Layer]:
    what = _describe(node, model)
    if node.op == "call_module":
        if len(node.args) != 1 or node.kwargs:
            raise CannotLower(f"{what} is called with options")
        return _lower_module(str(node.target), model.get_submodule(str(node.target)), model, what)
    kind = _FUNCTIONS.get(node.target)
    if kind is None or not isinstance(node.args[0] if node.args else None, fx.Node):
        raise CannotLower(f"{what} is not one that the fused engine knows")
    options: dict[str, Any] = {**dict(zip(_OPTIONS.get(kind, ()), node.args[1:], strict=False)), **node.kwargs}
    options.pop("inplace", None)
    if len(node.args) > 1 + len(_OPTIONS.get(kind, ())) or set(options) - set(_OPTIONS.get(kind, ())):
        raise CannotLower(f"{what} has options that the fused engine does not know: {sorted(options)}")
    if kind == "flatten":
        return _lower_flatten(options.get("start_dim", 0), options.get("end_dim", -1), what)
    if kind == "leaky_relu":
        return [Activation("leaky_relu", float(options.get("negative_slope", 0.01)))]
    if kind == "gelu":
        return [_gelu(options.get("approximate", "none"))]
    return [Activation(kind)]


_OPTIONS = {
    "leaky_relu": ("negative_slope", "inplace"),
    "relu": ("inplace",),
    "gelu": ("approximate",),
    "flatten": ("start_dim", "end_dim"),
}


def _gelu(approximate: str) -> Activation:
    return Activation("gelu_tanh" if approximate == "tanh" else "gelu")


def _lower_flatten(start: Any, end: Any, what: str) -> list[Layer]:
    if start not in (1, -1) or end not in (1, -1):
        raise CannotLower(f"{what} flattens dimensions {start} to {end}, not the features alone")
    return []


def _lower_linear(name: str, module: nn.Linear, model: nn.Module, what: str) -> list[Layer]:
    return [Linear(name, module.in_features, module.out_features, module.bias is not None)]


def _lower_batch_norm(name: str, module: nn.BatchNorm1d, model: nn.Module, what: str) -> list[Layer]:
    if None in (module.running_mean, module.running_var, module.num_batches_tracked):
        raise CannotLower(f"{what} keeps no running statistics, so that a jet's score depends on its batch")
    for buffer in (module.running_mean, module.running_var):
        if buffer is not None and buffer.dtype != next(model.parameters()).dtype:
            raise CannotLower(f"{what} keeps its running statistics in {buffer.dtype}")
    return [BatchNorm(name, module.num_features, module.eps, module.momentum, module.affine)]


def _lower_dropout(name: str, module: nn.Dropout | CounterDropout, model: nn.Module, what: str) -> list[Layer]:
    if module.p == 0.0:
        return []
    dropouts = [n for n, m in model.named_modules() if isinstance(m, (nn.Dropout, CounterDropout))]
    return [Dropout(module.p, dropouts.index(name))]


# For exactly these types: a subclass may compute anything.
_MODULES: dict[type[nn.Module], Callable[[str, Any, nn.Module, str], list[Layer]]] = {
    nn.Linear: _lower_linear,
    nn.BatchNorm1d: _lower_batch_norm,
    nn.Dropout: _lower_dropout,
    CounterDropout: _lower_dropout,
    nn.ReLU: lambda name, module, model, what: [Activation("relu")],
    nn.LeakyReLU: lambda name, module, model, what: [Activation("leaky_relu", module.negative_slope)],
    nn.Tanh: lambda name, module, model, what: [Activation("tanh")],
    nn.Sigmoid: lambda name, module, model, what: [Activation("sigmoid")],
    nn.GELU: lambda name, module, model, what: [_gelu(module.approximate)],
    nn.Identity: lambda name, module, model, what: [],
    nn.Flatten: lambda name, module, model, what: _lower_flatten(module.start_dim, module.end_dim, what),
}


def _lower_module(name: str, module: nn.Module, model: nn.Module, what: str) -> list[Layer]:
    rule = _MODULES.get(type(module))
    if rule is None:
        raise CannotLower(f"{what} is not one that the fused engine knows")
    return rule(name, module, model, what)


def _check_all_used(model: nn.Module, layers: list[Layer]) -> None:
    names = [layer.name for layer in layers if isinstance(layer, (Linear, BatchNorm))]
    for name in names:
        if names.count(name) > 1:
            raise CannotLower(f"layer {name} is used {names.count(name)} times")
    for name, _ in model.named_parameters():
        if name.rpartition(".")[0] not in names:
            raise CannotLower(f"parameter {name} takes no part in the model's output")


def _widths(layers: list[Layer]) -> list[int]:
    """Widths at the input and after each layer; there is a sized layer, since all parameters belong to one."""
    sized = next(layer for layer in layers if isinstance(layer, (Linear, BatchNorm)))
    widths = [sized.num_in if isinstance(sized, Linear) else sized.width]
    for layer in layers:
        if isinstance(layer, (Linear, BatchNorm)):
            expected = layer.num_in if isinstance(layer, Linear) else layer.width
            if expected != widths[-1]:
                raise CannotLower(f"layer {layer.name} expects {expected} features and gets {widths[-1]}")
        widths.append(layer.num_out if isinstance(layer, Linear) else widths[-1])
    return widths
