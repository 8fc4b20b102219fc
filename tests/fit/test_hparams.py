"""What TensorBoard's own HParams plugin makes of run folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from jsc.fit.hparams import METRICS, columns_of, hyper_parameters
from jsc.results import RunResult, read_result
from tests.conftest import settings_of
from tests.jsc_launcher.conftest import SweepCommand, sweep_command  # noqa: F401  # a fixture

QuickRun = Callable[..., RunResult]


def test_nothing_is_none_and_nothing_is_machinery() -> None:
    values = hyper_parameters(settings_of("optimizer=sgd"))
    assert None not in values.values()
    assert values["optimizer.momentum"] == 0.9
    assert values["model.name"] == "jsc-tiny"
    assert values["callbacks.best_checkpoint.monitor"] == "val_loss_epoch"
    assert not values.keys() & {"optimizer._target_", "trainer.log_every_n_steps", "logger.tensorboard.flush_secs"}


@pytest.mark.parametrize(
    ("varied", "first"),
    [
        ([], ["optimizer.lr", "dataset.batch_size", "trainer.max_epochs", "model.name", "seed"]),
        (["scheduler", "trainer.precision"], ["scheduler.name", "trainer.precision", "optimizer.lr"]),
        (["seed", "hydra.run.dir", "plugins"], ["seed", "optimizer.lr"]),
    ],
)
def test_what_varies_comes_first_and_the_usual_settings_follow(varied: list[str], first: list[str]) -> None:
    values = hyper_parameters(settings_of())
    columns = columns_of(values, varied)
    assert columns[: len(first)] == first
    assert len(set(columns)) == len(columns) < 12 < len(values)


def test_every_run_is_one_row_with_its_metrics(quick_run: QuickRun, tmp_path: Path) -> None:
    rates = (0.1, 0.01, 0.001)
    results = {
        f"{i}_lr={lr}": quick_run(f"optimizer.lr={lr}", folder=tmp_path / f"{i}_lr={lr}") for i, lr in enumerate(rates)
    }
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    assert set(multiplexer.Runs()) == set(results)  # no sub-runs
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    context = backend_context.Context(TBContext(data_provider=provider))
    request = RequestContext()
    found = context.hparams_metadata(request, "")
    experiment = context.experiment_from_metadata(request, "", True, found, [])
    assert [info.name.tag for info in experiment.metric_infos] == list(METRICS)
    types = {info.name: info.type for info in experiment.hparam_infos}
    assert types["optimizer.lr"] == api_pb2.DATA_TYPE_FLOAT64
    assert types["model.name"] == api_pb2.DATA_TYPE_STRING
    asked = api_pb2.ListSessionGroupsRequest(slice_size=100, allowed_statuses=list(range(4)))
    asked.col_params.add(metric=api_pb2.MetricName(tag="test_acc_epoch"), order=api_pb2.ORDER_DESC)
    rows = list_session_groups.Handler(request, context, "", asked).run().session_groups
    by_accuracy = sorted(results, key=lambda name: -(results[name].test_acc or 0.0))
    assert [row.sessions[0].name for row in rows] == by_accuracy
    for row in rows:
        values = {value.name.tag: value.value for value in row.metric_values}
        assert set(values) == set(METRICS)
        assert values["test_acc_epoch"] == pytest.approx(results[row.sessions[0].name].test_acc)
    assert {row.sessions[0].status for row in rows} == {api_pb2.STATUS_SUCCESS}


@pytest.mark.slow
def test_the_page_shows_thirty_runs_and_sorts_them_by_each_metric(
    sweep_command: SweepCommand,  # noqa: F811
    browser: Any,
    tmp_path: Path,
) -> None:
    from benchmarks.tensorboard_page import choose, open_hparams, rows, served, wait_for

    rates = ",".join(f"{10 ** (-i / 6):.4f}" for i in range(1, 16))
    quick = ["trainer.max_epochs=1", "trainer.limit_train_batches=5"]
    assert sweep_command("-m", *quick, f"optimizer.lr={rates}", "model=jsc_tiny,jsc_mlp", "hydra.sweep.dir=s") == 0
    results = {folder.name: read_result(folder) for folder in (tmp_path / "s").iterdir() if folder.is_dir()}
    browser.set_window_size(1900, 1500)
    with served(tmp_path / "s") as address:
        open_hparams(browser, address, num_rows=30)
        shown = {row["Trial ID"]: row for row in rows(browser)}
        assert set(shown) == set(results)
        columns = list(shown[min(shown)])
        settings = [column for column in columns if column not in (*METRICS, "Trial ID", "Show Metrics", "")]
        assert len(settings) == 5
        assert {"optimizer.lr", "model.name"} < set(settings)
        for name, row in shown.items():
            assert float(row["optimizer.lr"]) == results[name].lr
            assert row["model.name"] == results[name].model
            for metric, value in (
                ("val_loss_epoch", results[name].val_loss),
                ("test_acc_epoch", results[name].test_acc),
            ):
                assert float(row[metric]) == pytest.approx(value, rel=1e-4)
        for metric in METRICS:
            choose(browser, "Sort by", metric)
            orders = []
            for direction in ("Ascending", "Descending"):
                choose(browser, "Direction", direction)
                down = direction == "Descending"
                wait_for(lambda: is_sorted(figures(rows(browser), metric), down), f"{metric} was not sorted")  # noqa: B023
                orders.append(figures(rows(browser), metric))
            assert orders[0] == orders[1][::-1]
            assert len(set(orders[0])) > 10


def figures(rows: list[dict[str, str]], metric: str) -> list[float]:
    return [float(row[metric]) for row in rows]


def is_sorted(values: list[float], down: bool) -> bool:
    return len(values) == 30 and values == sorted(values, reverse=down)
