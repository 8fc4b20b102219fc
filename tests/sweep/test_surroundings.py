"""Our run_job beside Hydra's: the same task sees, leaves and returns the same."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.core.utils import run_job as run_by_hydra
from hydra.experimental.callback import Callback
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.jsc_launcher._job import as_yaml, run_job
from jsc.cli.command import compose

ODD = ["name='1e-3'", "note='a: b äöü'", "nothing=null", "many=[1,a]"]
WORDS = ["model=jsc_trt", "scheduler=onecycle", *(f"+model.options.{word}" for word in ODD)]


def job_config(folder: Path, *words: str) -> DictConfig:
    config = compose("train", [*WORDS, *words])
    with open_dict(config.hydra):
        config.hydra.job.num, config.hydra.job.id = 3, "3"
        config.hydra.sweep.dir, config.hydra.sweep.subdir = str(folder), "job-${hydra:job.num}"
    return config


def by_hydra(task: Callable[[DictConfig], Any], config: DictConfig, context: HydraContext) -> JobReturn:
    return run_by_hydra(task, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)


@pytest.mark.parametrize("chdir", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_a_training_job_runs_as_under_hydra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chdir: bool, fails: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    JobRuntime.instance().set("name", "train")
    seen: list[Any] = []

    def task(config: DictConfig) -> float:
        hydra = HydraConfig.get()
        assert OmegaConf.is_struct(config)
        told = {key: config._get_node(key) for key in config if key != "hydra"}
        seen.append((Path.cwd(), os.environ["OF_JOB"], hydra.runtime.output_dir, hydra.job.num, told))
        if fails:
            raise ValueError("as asked")
        return 0.5

    def run(runner: Callable[..., JobReturn], **further: bool) -> tuple[JobReturn, Any, dict[str, bytes]]:
        config = job_config(tmp_path / "sweep", f"hydra.job.chdir={str(chdir).lower()}", "+hydra.job.env_set.OF_JOB=3")
        context = HydraContext(config_loader=None, callbacks=Callbacks())  # type: ignore[arg-type]
        returned = runner(task, config, context, **further)
        assert Path.cwd() == tmp_path
        assert "OF_JOB" not in os.environ
        files = {p.name: p.read_bytes() for p in (tmp_path / "sweep" / "job-3" / ".hydra").iterdir()}
        return returned, seen.pop(), files

    ours, hydras = run(run_job, is_training=True), run(by_hydra)
    assert ours[2] == hydras[2]
    assert set(ours[2]) == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert ours[1] == hydras[1]
    for name in ("overrides", "working_dir", "task_name", "status"):
        assert getattr(ours[0], name) == getattr(hydras[0], name), name
    assert ours[0].status == (JobStatus.FAILED if fails else JobStatus.COMPLETED)
    assert repr(ours[0]._return_value) == repr(hydras[0]._return_value)


@pytest.mark.parametrize(("is_training", "has_callbacks"), [(False, False), (True, True)])
def test_whoever_looks_at_a_jobs_configurations_is_shown_them(
    tmp_path: Path, is_training: bool, has_callbacks: bool
) -> None:
    called: list[tuple[str, DictConfig | None]] = []

    class Notes(Callback):
        def on_job_start(self, config: DictConfig, **_: Any) -> None:
            called.append(("start", config))

        def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
            called.append(("end", job_return.cfg))

    callbacks = Callbacks()
    callbacks.callbacks = [Notes()] if has_callbacks else []
    context = HydraContext(config_loader=None, callbacks=callbacks)  # type: ignore[arg-type]
    returned = run_job(lambda config: 0.5, job_config(tmp_path), context, is_training=is_training)
    assert returned.cfg is not None
    assert "hydra" not in returned.cfg
    assert returned.hydra_cfg.hydra.job.num == 3
    assert [what for what, _ in called] == (["start", "end"] if has_callbacks else [])
    assert not called or called[1][1] == returned.cfg


def test_a_task_that_changes_folder_leaves_the_worker_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "else").mkdir()
    context = HydraContext(config_loader=None, callbacks=Callbacks())  # type: ignore[arg-type]
    for is_training in (True, False):
        run_job(lambda config: os.chdir("else"), job_config(tmp_path / "sweep"), context, is_training=is_training)
        assert Path.cwd() == tmp_path


@pytest.mark.parametrize("value", ["1", "true", "null", "~", "1e3", "a: b", "word " * 60, "", " x", "a\nb", "#", "äö"])
def test_yaml_is_omegaconfs(value: str) -> None:
    content = {"key": value, "list": [value, 1, 2.5, None, True], f"a{value}": {}}
    assert as_yaml(content) == OmegaConf.to_yaml(OmegaConf.create(content))
