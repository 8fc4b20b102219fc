import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from jsc import models
from jsc.engine import FusedScorer, Plan, interpret, lower
from jsc.engine.layers import Floats
from tests.engine.definition import networks


def logits_of(model: nn.Module, x_NF: Floats) -> Floats:
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        logits_NC: Floats = model(torch.from_numpy(x_NF)).numpy()
    return logits_NC


def with_statistics(model: nn.Module, num_features: int) -> nn.Module:
    """The model after a few batches, so that running statistics are not 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        model(torch.randn(50, num_features, generator=generator, dtype=next(model.parameters()).dtype) * 2 + 1)
    return model


# Sums of up to 128 products, in another order than torch's; a few roundings of the numbers' own precision.
TOLERANCES = {torch.float32: 2e-5, torch.float64: 1e-13}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", models.model_names())
def test_the_interpreter_equals_torch(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    model = with_statistics(models.build_model(name, num_features=16, num_classes=5).to(dtype), 16)
    x_NF = torch.randn(200, 16, dtype=dtype).numpy()
    plan, tolerance = lower(model), TOLERANCES[dtype]
    logits_NC = interpret(plan, model, x_NF)
    assert logits_NC.dtype == x_NF.dtype
    np.testing.assert_allclose(logits_NC, logits_of(model, x_NF), rtol=tolerance, atol=tolerance)
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    np.testing.assert_array_equal(interpret(plan, arrays, x_NF), logits_NC)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(networks())
def test_the_interpreter_equals_torch_and_the_kernel_on_any_chain(model: nn.Module) -> None:
    plan = lower(model)
    model = with_statistics(model, plan.num_features)
    x_NF = torch.randn(40, plan.num_features, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).numpy()
    logits_NC = interpret(plan, model, x_NF)
    # A BatchNorm over a feature that hardly varies multiplies with as much as 1 / sqrt(eps).
    np.testing.assert_allclose(logits_NC, logits_of(model, x_NF), rtol=1e-11, atol=1e-11)
    evaluation = FusedScorer(model, plan).evaluate(x_NF, np.zeros(40, np.int8), with_logits=True)
    assert evaluation.logits_NC is not None
    np.testing.assert_allclose(evaluation.logits_NC, logits_NC, rtol=1e-11, atol=1e-11)


def test_far_from_zero_no_activation_overflows() -> None:
    """Warnings are errors here."""
    x_NF = np.array([[-1000.0, 1000.0]], np.float32)
    for activation, expected in ((nn.Sigmoid(), [0, 1]), (nn.GELU(), [0, 1000]), (nn.ReLU(), [0, 1000])):
        model = nn.Sequential(activation, nn.Linear(2, 2, bias=False))
        nn.init.eye_(model[1].weight)
        np.testing.assert_array_equal(interpret(lower(model), model, x_NF), [expected])


@pytest.fixture
def plan() -> Plan:
    return lower(nn.Sequential(nn.Linear(3, 2)))


def test_unfit_arrays_are_refused(plan: Plan) -> None:
    state = {"0.weight": np.zeros((2, 3)), "0.bias": np.zeros(2)}
    with pytest.raises(ValueError, match=r"jets are \[4, 2\]; expected \[N, 3\]"):
        interpret(plan, state, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"0.weight is float64 \[2, 3\]; expected float32 \[2, 3\]"):
        interpret(plan, state, np.zeros((4, 3), np.float32))
    with pytest.raises(ValueError, match=r"0.bias is float64 \[3\]; expected float64 \[2\]"):
        interpret(plan, {**state, "0.bias": np.zeros(3)}, np.zeros((4, 3)))
