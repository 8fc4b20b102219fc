"""What TensorBoard's own HParams plugin makes of run folders."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from jsc.hparams import METRICS, hyper_parameters
from jsc.results import RunResult
from tests.conftest import settings_of

QuickRun = Callable[..., RunResult]


def test_nothing_is_none_and_nothing_is_machinery() -> None:
    values = hyper_parameters(settings_of("optimizer=sgd"))
    assert None not in values.values()
    assert values["optimizer.momentum"] == 0.9
    assert values["model.name"] == "jsc-tiny"
    assert not [key for key in values if key.endswith("_target_") or key.startswith(("callbacks", "logger"))]


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
