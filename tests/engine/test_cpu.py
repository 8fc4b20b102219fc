import copy
import io
import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jsc import models
from jsc.engine import CannotLower, CrossEntropy, FusedScorer, FusedTrainer, lower
from tests.engine.definition import (
    OPTIMIZERS,
    assert_same,
    make_task,
    networks,
    tolerance_for,
    train_autograd,
    train_fused,
    twins,
)

LOSSES = {
    "plain": CrossEntropy(),
    "smoothed": CrossEntropy(label_smoothing=0.1),
    "weighted": CrossEntropy(class_weights=(1.0, 2.0, 0.5, 3.0, 0.25)),
    "both": CrossEntropy(label_smoothing=0.2, class_weights=(1.0, 2.0, 0.5, 3.0, 0.0)),
}


def build(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(7)
    return models.build_model(name, num_features=16, num_classes=5).to(dtype)


def compare(model: nn.Module, optimizer: str, task: Any, loss: CrossEntropy) -> None:
    """Fused equals autograd in losses, predictions, weights, statistics and optimizer state."""
    tolerance = tolerance_for(model, optimizer)
    fused, torchs = twins(model, OPTIMIZERS[optimizer])
    losses, num_correct = train_fused(FusedTrainer(*fused, loss=loss, seed=3), task)
    losses_torch, num_correct_torch = train_autograd(*torchs, task, loss=loss, seed=3)
    np.testing.assert_allclose(losses, losses_torch, rtol=min(tolerance, 1e-8))
    np.testing.assert_array_equal(num_correct, num_correct_torch)
    assert_same(fused, torchs, tolerance=tolerance)


@pytest.mark.parametrize("name", models.model_names())
@pytest.mark.parametrize("optimizer", ["adam", "sgd-momentum"])
def test_200_steps_equal_autograd(name: str, optimizer: str) -> None:
    compare(build(name), optimizer, make_task(num_steps=200, batch_size=37, last_batch=11), LOSSES["plain"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_equal_autograd(optimizer: str) -> None:
    task = make_task(num_steps=60, batch_size=50, last_batch=20, rate=1e-2)
    compare(build("jsc-medium"), optimizer, task, LOSSES["plain"])


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_equal_autograd(loss: str) -> None:
    compare(build("jsc-tiny"), "sgd", make_task(num_steps=50, batch_size=64, last_batch=2, rate=0.1), LOSSES[loss])


@pytest.mark.parametrize("name", ["jsc-toy", "jsc-mlp", "jsc-trt"])
@pytest.mark.parametrize(
    ("batch_size", "last_batch"), [(2, 2), (8, 3), (16, 16), (31, 2), (256, 255), (257, 256), (600, 513), (1500, 1025)]
)
def test_batch_sizes_equal_autograd(name: str, batch_size: int, last_batch: int) -> None:
    task = make_task(num_steps=6, batch_size=batch_size, last_batch=last_batch, rate=0.05)
    compare(build(name), "sgd-momentum", task, LOSSES["plain"])


def test_a_batch_larger_than_the_split_is_the_split() -> None:
    task = make_task(num_steps=1, batch_size=300)
    models_of_sizes = {batch_size: build("jsc-trt") for batch_size in (300, 2**31 - 1)}
    for task.batch_size, model in models_of_sizes.items():
        train_fused(FusedTrainer(model, OPTIMIZERS["sgd"](model.parameters()), loss=LOSSES["plain"], seed=3), task)
    exact, larger = (model.state_dict() for model in models_of_sizes.values())
    assert all(torch.equal(larger[name], value) for name, value in exact.items())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(networks(), st.integers(2, 70), st.integers(2, 70), st.sampled_from(["sgd-nesterov", "adam-decay"]))
def test_random_networks_equal_autograd(model: nn.Sequential, batch_size: int, last_batch: int, optimizer: str) -> None:
    task = make_task(
        num_steps=5,
        batch_size=batch_size,
        last_batch=min(batch_size, last_batch),
        num_features=lower(model).num_features,
        num_classes=lower(model).num_classes,
        num_jets=200,
    )
    fused, torchs = twins(model, OPTIMIZERS[optimizer])
    loss = CrossEntropy(label_smoothing=0.05)
    trainer = FusedTrainer(*fused, loss=loss, seed=5)
    losses, _ = train_fused(trainer, task)
    losses_torch, _ = train_autograd(*torchs, task, loss=loss, seed=5)
    np.testing.assert_allclose(losses, losses_torch, rtol=1e-8, atol=1e-10)
    assert_same(fused, torchs, tolerance=1e-7)  # a BatchNorm over two nearly equal jets magnifies rounding
    definition = torchs[0].eval()
    with torch.no_grad():
        logits_NC = definition(torch.from_numpy(task.x_NF)).numpy()
    scores = trainer.evaluate(task.x_NF, task.labels_N, with_logits=True)
    np.testing.assert_allclose(scores.logits_NC, logits_NC, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in models.model_names() if name != "jsc-s"])
def test_float32_stays_by_the_definition_in_float64(name: str) -> None:
    """To 2e-6, ten roundings of a loss of 1.6; torch's own float32 strays as far.

    Not jsc-s: its last BatchNorm sees numbers that hardly differ from jet to jet, and magnifies their rounding.
    """
    double = build(name)
    single = copy.deepcopy(double).float()
    task, task_32 = (make_task(num_steps=100, batch_size=64, dtype=dtype) for dtype in (np.float64, np.float32))
    trainer = FusedTrainer(single, OPTIMIZERS["adam"](single.parameters()), loss=LOSSES["plain"], seed=0)
    losses, _ = train_fused(trainer, task_32)
    losses_64, _ = train_autograd(double, OPTIMIZERS["adam"](double.parameters()), task, loss=LOSSES["plain"])
    np.testing.assert_allclose(losses, losses_64, rtol=0.0, atol=2e-6)
    double.eval()
    with torch.no_grad():
        value = LOSSES["plain"](double(torch.from_numpy(task.x_NF)), torch.from_numpy(task.labels_N)).item()
    # Biases before a BatchNorm have wandered, and its running means follow with a delay: a thousandth.
    assert trainer.evaluate(task_32.x_NF, task_32.labels_N).loss == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("num_jets", [1, 15, 256, 1000])
def test_evaluation_equals_torch(loss: str, num_jets: int) -> None:
    model = build("jsc-trt")
    trainer = FusedTrainer(model, OPTIMIZERS["adam"](model.parameters()), loss=LOSSES[loss], seed=0)
    task = make_task(num_steps=20, batch_size=50, num_jets=1000)
    train_fused(trainer, task)
    x_NF, labels_N = task.x_NF[:num_jets], task.labels_N[:num_jets]
    model.eval()
    with torch.no_grad():
        logits_NC = model(torch.from_numpy(x_NF))
        value = LOSSES[loss](logits_NC, torch.from_numpy(labels_N)).item()
    scores = trainer.evaluate(x_NF, labels_N, with_logits=True)
    assert scores.loss == pytest.approx(value, rel=1e-12, nan_ok=True)
    assert scores.num_correct == int((logits_NC.argmax(1).numpy() == labels_N).sum())
    np.testing.assert_allclose(scores.logits_NC, logits_NC.numpy(), rtol=1e-11, atol=1e-13)
    assert trainer.evaluate(x_NF, labels_N).logits_NC is None


def test_a_scorer_needs_no_optimizer_and_sees_the_model_as_it_is() -> None:
    model = build("jsc-medium")
    scorer = FusedScorer(model)
    task = make_task(num_steps=5, batch_size=32)
    for _ in range(2):
        trainer = FusedTrainer(model, OPTIMIZERS["adam"](model.parameters()), loss=CrossEntropy(), seed=0)
        train_fused(trainer, task)
        scores, expected = (s.evaluate(task.x_NF, task.labels_N, with_logits=True) for s in (scorer, trainer))
        np.testing.assert_array_equal(scores.logits_NC, expected.logits_NC)
        assert (scores.loss_sum, scores.weight_sum) == (expected.loss_sum, expected.weight_sum)
        assert scores.num_correct == expected.num_correct


def saved_and_loaded(state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("fused_first", [True, False])
def test_either_engine_goes_on_from_the_others_checkpoint(optimizer: str, fused_first: bool) -> None:
    task = make_task(num_steps=40, batch_size=32, last_batch=9, rate=1e-2)
    (model, mixed), torchs = twins(build("jsc-trt"), OPTIMIZERS[optimizer])
    loss = LOSSES["plain"]
    train_autograd(*torchs, task, loss=loss, seed=9)
    for part, begin, end in ((0, 0, 17), (1, 17, 40)):
        if (part == 0) == fused_first:
            train_fused(FusedTrainer(model, mixed, loss=loss, seed=9), task.part(begin, end), first_step=begin)
        else:
            train_autograd(model, mixed, task.part(begin, end), loss=loss, seed=9, first_step=begin)
        model_state, optimizer_state = saved_and_loaded((model.state_dict(), mixed.state_dict()))
        model = build("jsc-trt")
        mixed = OPTIMIZERS[optimizer](model.parameters())
        model.load_state_dict(model_state)
        mixed.load_state_dict(optimizer_state)
    assert_same((model, mixed), torchs, tolerance=tolerance_for(model, optimizer))


def test_in_chunks_or_at_once_it_is_the_same_to_the_byte() -> None:
    task = make_task(num_steps=30, batch_size=32, last_batch=5, dtype=np.float32)
    results = []
    for ends in ([30], [1, 2, 17, 30]):
        model = build("jsc-trt", torch.float32)
        trainer = FusedTrainer(model, OPTIMIZERS["adam"](model.parameters()), loss=LOSSES["plain"], seed=1)
        begin, losses = 0, []
        for end in ends:
            losses.append(train_fused(trainer, task.part(begin, end), first_step=begin)[0])
            begin = end
        results.append((np.concatenate(losses).tobytes(), [v.numpy().tobytes() for v in model.state_dict().values()]))
    assert results[0] == results[1]


def test_same_seed_same_bytes_whatever_runs_beside() -> None:
    task = make_task(num_steps=30, batch_size=64, dtype=np.float32)
    outcomes: dict[int, bytes] = {}

    def train(seed: int, slot: int) -> None:
        model = build_copy()
        trainer = FusedTrainer(model, OPTIMIZERS["adam"](model.parameters()), loss=LOSSES["plain"], seed=seed)
        train_fused(trainer, task)
        outcomes[slot] = b"".join(v.numpy().tobytes() for v in model.state_dict().values())

    original = build("jsc-trt", torch.float32)

    def build_copy() -> nn.Module:
        return copy.deepcopy(original)

    threads = [threading.Thread(target=train, args=(seed, slot)) for slot, seed in enumerate((1, 1, 1, 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0] != outcomes[3]  # another seed drops others


def test_loading_a_state_dict_between_calls_is_seen() -> None:
    task = make_task(num_steps=10, batch_size=32)
    model = build("jsc-tiny")
    optimizer = OPTIMIZERS["adam"](model.parameters())
    start = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    trainer = FusedTrainer(model, optimizer, loss=LOSSES["plain"], seed=0)
    first, _ = train_fused(trainer, task)
    model.load_state_dict(start[0])
    optimizer.load_state_dict(start[1])
    again, _ = train_fused(trainer, task)
    np.testing.assert_array_equal(first, again)
    model.load_state_dict(start[0], assign=True)  # new tensors in the place of the old
    optimizer = OPTIMIZERS["adam"](model.parameters())
    assigned, _ = train_fused(FusedTrainer(model, optimizer, loss=LOSSES["plain"], seed=0), task)
    np.testing.assert_array_equal(first, assigned)


def test_a_diverged_run_shows_nan() -> None:
    model = build("jsc-mlp", torch.float32)
    trainer = FusedTrainer(model, torch.optim.SGD(model.parameters()), loss=LOSSES["plain"], seed=0)
    task = make_task(num_steps=20, batch_size=32, dtype=np.float32, rate=1e30)
    losses, _ = train_fused(trainer, task)
    assert np.isnan(losses[-1])
    assert np.isnan(trainer.evaluate(task.x_NF, task.labels_N).loss)


@pytest.fixture
def tiny() -> FusedTrainer:
    model = build("jsc-tiny", torch.float32)
    return FusedTrainer(model, OPTIMIZERS["adam"](model.parameters()), loss=LOSSES["plain"], seed=0)


GOOD: dict[str, Any] = {
    "x_NF": np.zeros((50, 16), np.float32),
    "labels_N": np.zeros(50, np.int8),
    "rows": np.arange(20),
    "batch_size": 8,
    "learning_rates_S": np.full(3, 1e-3),
    "first_step": 0,
}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x_NF": np.zeros((50, 16))}, ValueError, "jets are float64; the model is float32"),
        ({"x_NF": np.zeros((50, 15), np.float32)}, ValueError, r"\[50, 15\]; expected a contiguous \[N, 16\]"),
        ({"x_NF": np.zeros((16, 50), np.float32).T}, ValueError, "contiguous"),
        ({"labels_N": np.zeros(49, np.int8)}, ValueError, r"labels are \[49\] for 50 jets"),
        ({"labels_N": np.zeros(50)}, ValueError, "labels are float64"),
        ({"labels_N": np.full(50, 5, np.int8)}, ValueError, "a label is not between 0 and 4"),
        ({"labels_N": np.full(50, -1, np.int8)}, ValueError, "a label is not between 0 and 4"),
        ({"labels_N": np.full(50, 1000)}, ValueError, "a label is not between 0 and 4"),
        ({"rows": np.full(20, 50)}, IndexError, "a row number is not between 0 and 49"),
        ({"rows": np.full(20, -1)}, IndexError, "a row number is not between 0 and 49"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"learning_rates_S": np.full(4, 1e-3)}, ValueError, "20 rows are 3 batches of 8; there are 4"),
        ({"rows": np.arange(17)}, ValueError, "a batch of 1 jet has no variance"),
        ({"batch_size": 1, "learning_rates_S": np.ones(20)}, ValueError, "a batch of 1 jet has no variance"),
    ],
)
def test_unfit_arrays_are_refused_and_change_nothing(
    tiny: FusedTrainer, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = copy.deepcopy(tiny.model.state_dict())
    with pytest.raises(error, match=message):
        tiny.train(**{**GOOD, **changes})
    assert all(torch.equal(v, before[k]) for k, v in tiny.model.state_dict().items())


def test_a_bad_label_is_refused_in_evaluation(tiny: FusedTrainer) -> None:
    with pytest.raises(ValueError, match="a label is not between 0 and 4"):
        tiny.evaluate(GOOD["x_NF"], np.full(50, 7, np.int8))


def test_no_steps_are_no_steps(tiny: FusedTrainer) -> None:
    losses, num_correct = tiny.train(**{**GOOD, "rows": np.arange(0), "learning_rates_S": np.empty(0)})
    assert len(losses) == len(num_correct) == 0


def test_read_only_arrays_and_other_integer_labels_are_taken(tiny: FusedTrainer) -> None:
    task = make_task(num_steps=3, batch_size=8, dtype=np.float32)
    for array in (task.x_NF, task.labels_N, task.rows, task.rates_S):
        array.flags.writeable = False
    losses, _ = train_fused(tiny, task)
    task.labels_N = task.labels_N.astype(np.int64)
    again, _ = train_fused(tiny, task)
    assert np.isfinite([*losses, *again]).all()


def test_a_class_weight_a_class() -> None:
    model = build("jsc-tiny")
    with pytest.raises(ValueError, match="the loss has 3 class weights; the model has 5 classes"):
        FusedTrainer(model, OPTIMIZERS["sgd"](model.parameters()), loss=CrossEntropy(class_weights=(1, 1, 1)), seed=0)


def test_parameters_that_took_different_numbers_of_steps_are_refused() -> None:
    model = build("jsc-tiny")
    optimizer = OPTIMIZERS["adam"](model.parameters())
    trainer = FusedTrainer(model, optimizer, loss=LOSSES["plain"], seed=0)
    task = make_task(num_steps=3, batch_size=8)
    train_fused(trainer, task)
    optimizer.state[next(model.parameters())]["step"].fill_(7)
    with pytest.raises(CannotLower, match=r"different numbers of steps for its parameters: \[3, 7\]"):
        train_fused(trainer, task)
