"""From a torch model to its plan, by a torch.fx trace; or the reason why not."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from jsc.engine import torch_internals
from jsc.engine.dropout import CounterDropout
from jsc.engine.layers import GELU, BatchNorm, CannotLower, Dropout, GELUTanh, Layer, LeakyReLU, Linear, Sigmoid, Tanh
from jsc.engine.plan import MAX_CLASSES, Plan


def _lower_flatten(name: str, module: nn.Flatten, model: nn.Module) -> None:
    if module.start_dim not in (1, -1) or module.end_dim not in (1, -1):
        where = f"layer {name} (Flatten)" if name else "function flatten"
        dimensions = f"{module.start_dim} to {module.end_dim}"
        raise CannotLower(f"{where} flattens dimensions {dimensions}, not the features alone")


# For exactly these types: a subclass may compute anything. A rule gets the module's name, the module and the model;
# None is a layer that does nothing.
_RULES: dict[type[nn.Module], Callable[[str, Any, nn.Module], Layer | None]] = {
    nn.Linear: Linear.of,
    nn.BatchNorm1d: BatchNorm.of,
    nn.Dropout: Dropout.of,
    CounterDropout: Dropout.of,
    nn.ReLU: lambda name, module, model: LeakyReLU(0.0),
    nn.LeakyReLU: lambda name, module, model: LeakyReLU(float(module.negative_slope)),
    nn.Tanh: lambda name, module, model: Tanh(),
    nn.Sigmoid: lambda name, module, model: Sigmoid(),
    nn.GELU: lambda name, module, model: GELUTanh() if module.approximate == "tanh" else GELU(),
    nn.Identity: lambda name, module, model: None,
    nn.Flatten: _lower_flatten,
}

# The module that does the same, made with the function's further arguments.
_FUNCTIONS: dict[Any, Callable[..., nn.Module]] = {
    functional.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    "relu": nn.ReLU,
    functional.leaky_relu: nn.LeakyReLU,
    torch.tanh: nn.Tanh,
    functional.tanh: nn.Tanh,
    "tanh": nn.Tanh,
    torch.sigmoid: nn.Sigmoid,
    functional.sigmoid: nn.Sigmoid,
    "sigmoid": nn.Sigmoid,
    functional.gelu: nn.GELU,
    torch.flatten: lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    "flatten": lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
}


def lower(model: nn.Module) -> Plan:
    """The plan of a model. Raises CannotLower."""
    _check_modules(model)
    dtype = _check_parameters(model)
    lowered = [(_describe(node, model), _lower_node(node, model)) for node in _chain(model)]
    layers = [(what, layer) for what, layer in lowered if layer is not None]
    _check_tensors(model, layers)
    num_features, num_classes = _outer_widths(layers)
    if num_classes > MAX_CLASSES:
        raise CannotLower(f"the model has {num_classes} classes; the fused engine does at most {MAX_CLASSES}")
    plan = Plan(tuple(layer for _, layer in layers), num_features, num_classes, dtype)
    for name in plan.running():
        if model.get_buffer(name).dtype != dtype:
            raise CannotLower(f"the running statistics {name} are {model.get_buffer(name).dtype}, not {dtype}")
    return plan


def _check_modules(model: nn.Module) -> None:
    for name, module in model.named_modules():
        what = f"layer {name or '(the model)'} ({type(module).__name__})"
        if parametrize.is_parametrized(module):
            raise CannotLower(f"{what} is parametrized")
        if torch_internals.has_hooks(module):
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
        if torch_internals.has_gradient_hooks(parameter):
            raise CannotLower(f"parameter {name} has hooks, which the fused engine would not call")
    return parameters[0][1].dtype


def _check_tensors(model: nn.Module, layers: list[tuple[str, Layer]]) -> None:
    """Every parameter belongs to one layer, and every layer's tensors to it alone."""
    owners: dict[str, str] = {}
    for what, layer in layers:
        for name in (*layer.parameters(), *layer.running()):
            if name in owners:
                raise CannotLower(f"{what} is used more than once")
            owners[name] = what
    for name, _ in model.named_parameters():
        if name not in owners:
            raise CannotLower(f"parameter {name} takes no part in the model's output")


def _outer_widths(layers: list[tuple[str, Layer]]) -> tuple[int, int]:
    """How many features come in and how many go out. Some layer has parameters, and so says how many it takes."""
    width = num_features = next(layer.widths[0] for _, layer in layers if layer.widths is not None)
    for what, layer in layers:
        num_in, num_out = layer.widths or (width, width)
        if num_in != width:
            raise CannotLower(f"{what} expects {num_in} features and gets {width}")
        width = num_out
    return num_features, width


_TRACING = threading.Lock()  # while it traces, fx patches torch for the whole process


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, tuple(_RULES)) or super().is_leaf_module(m, module_qualified_name)


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Put the modules of a model back into training or evaluation mode, each as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _chain(model: nn.Module) -> list[fx.Node]:
    """The nodes between the input and the output, each of which must feed the next and nothing else."""
    graphs = []
    with _TRACING, modes_kept(model):
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


def _lower_node(node: fx.Node, model: nn.Module) -> Layer | None:
    what, name = _describe(node, model), ""
    options = (*node.args[1:], *node.kwargs.values())
    if not node.args or any(isinstance(option, fx.Node) for option in options):
        raise CannotLower(f"{what} is called with options that are not plain numbers")
    if node.op == "call_module":
        name = str(node.target)
        module = model.get_submodule(name)
        if options:
            raise CannotLower(f"{what} is called with options")
    else:
        make = _FUNCTIONS.get(node.target)
        if make is None:
            raise CannotLower(f"{what} is not one that the fused engine knows")
        try:
            module = make(*node.args[1:], **node.kwargs)
        except (TypeError, ValueError) as error:
            raise CannotLower(f"{what} has options that the fused engine does not know: {list(options)}") from error
    rule = _RULES.get(type(module))
    if rule is None:
        raise CannotLower(f"{what} is not one that the fused engine knows")
    return rule(name, module, model)
