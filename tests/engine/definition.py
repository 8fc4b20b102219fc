"""What the fused engine must equal: the same training by torch autograd, as plainly as it can be written."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

from jsc.engine import CrossEntropy, FusedTrainer, count_dropout, set_dropout_step

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Trained = tuple[nn.Module, torch.optim.Optimizer]

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "adam": lambda p: torch.optim.Adam(p),
    "adam-decay": lambda p: torch.optim.Adam(p, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.05),
    "adamw": lambda p: torch.optim.AdamW(p, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p),
    "sgd-momentum": lambda p: torch.optim.SGD(p, momentum=0.9, weight_decay=0.01),
    "sgd-dampening": lambda p: torch.optim.SGD(p, momentum=0.8, dampening=0.3),
    "sgd-nesterov": lambda p: torch.optim.SGD(p, momentum=0.9, nesterov=True, weight_decay=0.01),
}


@dataclass
class Task:
    """Jets, labels, an order of rows and a learning rate a step."""

    x_NF: Any
    labels_N: Any
    rows: Any
    batch_size: int
    rates_S: Any

    def part(self, begin: int, end: int) -> "Task":
        rows = self.rows[begin * self.batch_size : end * self.batch_size]
        return Task(self.x_NF, self.labels_N, rows, self.batch_size, self.rates_S[begin:end])


def make_task(
    *,
    num_steps: int,
    batch_size: int,
    last_batch: int | None = None,
    num_features: int = 16,
    num_classes: int = 5,
    num_jets: int = 3000,
    dtype: Any = np.float64,
    rate: float = 1e-3,
    seed: int = 0,
) -> Task:
    """Random jets, with something to learn; the rate goes through a cosine."""
    generator = np.random.default_rng(seed)
    labels_N = generator.integers(0, num_classes, num_jets)
    centres_CF = generator.standard_normal((num_classes, num_features))
    x_NF = centres_CF[labels_N] * 0.7 + generator.standard_normal((num_jets, num_features))
    num_rows = (num_steps - 1) * batch_size + (last_batch or batch_size)
    return Task(
        x_NF.astype(dtype),
        labels_N.astype(np.int8),
        generator.integers(0, num_jets, num_rows),
        batch_size,
        rate * (1.1 + np.cos(np.arange(num_steps) / 30)),
    )


def train_autograd(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    task: Task,
    *,
    loss: CrossEntropy,
    seed: int = 0,
    first_step: int = 0,
) -> tuple[Any, Any]:
    """(losses, numbers right) a step."""
    count_dropout(model, seed=seed)
    model.train()
    x_NF, labels_N = torch.from_numpy(task.x_NF), torch.from_numpy(task.labels_N).long()
    losses, num_correct = [], []
    for step, rate in enumerate(task.rates_S):
        rows_B = torch.from_numpy(task.rows[step * task.batch_size : (step + 1) * task.batch_size])
        set_dropout_step(model, first_step + step)
        optimizer.param_groups[0]["lr"] = float(rate)
        logits_BC = model(x_NF[rows_B])
        value = loss(logits_BC, labels_N[rows_B])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
        num_correct.append(int((logits_BC.argmax(1) == labels_N[rows_B]).sum()))
    return np.array(losses), np.array(num_correct)


def train_fused(trainer: FusedTrainer, task: Task, *, first_step: int = 0) -> tuple[Any, Any]:
    return trainer.train(
        task.x_NF,
        task.labels_N,
        task.rows,
        batch_size=task.batch_size,
        learning_rates_S=task.rates_S,
        first_step=first_step,
    )


def twins(model: nn.Module, make_optimizer: MakeOptimizer) -> tuple[Trained, Trained]:
    other = copy.deepcopy(model)
    return (model, make_optimizer(model.parameters())), (other, make_optimizer(other.parameters()))


def tolerance_for(model: nn.Module, optimizer: str) -> float:
    """How far float64 weights may be from autograd's, relative: 1e-12 is some thousand roundings.

    A BatchNorm takes the bias before it away again, whose gradient is therefore rounding alone, 1e-17 or so. Adam
    divides it by eps, or by its own size if that is larger, so that each step takes the bias up to 1e-17 / eps of the
    learning rate somewhere else, and the running mean with it: in 200 steps at 1e-3 no more than 5e-7 of its size with
    the usual eps of 1e-8, 1e-9 with 1e-4. A wrong gradient would take it 0.2 away.
    """
    if any(isinstance(module, nn.BatchNorm1d) for module in model.modules()):
        return {"adam": 5e-7, "adamw": 5e-7, "adam-decay": 1e-9}.get(optimizer, 1e-12)
    return 1e-12


def assert_same(fused: Trained, torchs: Trained, *, tolerance: float) -> None:
    """Weights, statistics and optimizer states differ by no more than `tolerance` of a tensor's largest element."""
    (model, optimizer), (other_model, other_optimizer) = fused, torchs
    others = other_model.state_dict()
    for name, value in model.state_dict().items():
        bound = tolerance * max(float(others[name].abs().max()), 1e-6)
        assert float((value - others[name]).abs().max()) <= bound, name
    states, other_states = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert states.keys() == other_states.keys()
    for number, state in other_states.items():
        assert states[number].keys() == state.keys()
        for name, value in state.items():
            if value is not None:
                bound = tolerance * max(float(value.abs().max()), 1e-3)
                assert float((states[number][name] - value).abs().max()) <= bound, (number, name)


WIDTHS = st.integers(1, 21)


@st.composite
def networks(draw: Any) -> nn.Module:
    """A chain of any of the layers, in any order, of any widths."""
    width = draw(WIDTHS)
    layers: list[nn.Module] = []
    for kind in draw(st.lists(st.sampled_from(["linear", "norm", "activation", "dropout", "nothing"]), max_size=7)):
        if kind == "linear":
            layers.append(nn.Linear(width, width := draw(WIDTHS), bias=draw(st.booleans())))
        elif kind == "norm":
            momentum = draw(st.sampled_from([0.1, 0.0, 1.0, None]))
            layers.append(nn.BatchNorm1d(width, eps=draw(st.sampled_from([1e-5, 0.1])), momentum=momentum,
                                         affine=draw(st.booleans())))  # fmt: skip
        elif kind == "activation":
            layers.append(
                draw(
                    st.sampled_from(
                        [nn.ReLU(), nn.LeakyReLU(0.2), nn.LeakyReLU(-0.5), nn.LeakyReLU(1.5), nn.Tanh(), nn.Sigmoid(),
                         nn.GELU(), nn.GELU(approximate="tanh")]
                    )
                )
            )  # fmt: skip
        elif kind == "dropout":
            layers.append(nn.Dropout(draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))))
        else:
            layers.append(draw(st.sampled_from([nn.Identity(), nn.Flatten()])))
    layers.append(nn.Linear(width, draw(st.integers(1, 9))))
    layers += draw(st.sampled_from([[], [nn.ReLU()], [nn.BatchNorm1d(layers[-1].out_features), nn.ReLU()]]))
    model = copy.deepcopy(nn.Sequential(*layers)).double()  # a layer that was drawn twice is two layers
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    return model
