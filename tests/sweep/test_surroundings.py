"""A job's surroundings beside Hydra's run_job: the same task sees, leaves and returns the same."""

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job
from hydra.experimental.callback import Callback
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from jsc.cli.command import compose
from jsc.sweep.surroundings import run_in

ODD = ["name='1e-3'", "note='a: b äöü'", "nothing=null", "many=[1,a]", "lines='a\n\nhydra:\n  b'"]
OVERRIDES = ["model=jsc_trt", "scheduler=onecycle", *(f"+model.options.{override}" for override in ODD)]


class Callbacks:
    """As Hydra calls its own."""

    def __init__(self, *callbacks: Callback) -> None:
        self.callbacks = callbacks

    def on_job_start(self, **told: Any) -> None:
        for callback in self.callbacks:
            callback.on_job_start(**told)

    def on_job_end(self, **told: Any) -> None:
        for callback in self.callbacks:
            callback.on_job_end(**told)


class Notes(Callback):
    """Of what it is told."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def on_job_start(self, config: DictConfig, **told: Any) -> None:
        self.notes.append(("start", config.hydra.job.num, Path.cwd(), os.environ.get("OF_JOB"), told["task_function"]))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        hydra_cfg = job_return.hydra_cfg
        assert hydra_cfg is not None
        cfg, of_hydra = OmegaConf.to_container(job_return.cfg), OmegaConf.to_container(hydra_cfg.hydra)
        self.notes += [config.hydra.job.num, cfg, of_hydra, job_return.overrides, job_return.working_dir]
        self.notes += [job_return.task_name, job_return.status, repr(job_return._return_value)]


def job_config(folder: Path, *overrides: str) -> DictConfig:
    config = compose("train", [*OVERRIDES, *overrides])
    with open_dict(config.hydra):
        config.hydra.job.num, config.hydra.job.id = 3, "3"
        config.hydra.sweep.dir, config.hydra.sweep.subdir = str(folder), "job-${hydra:job.num}"
    return config


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("chdir", [False, True])
def test_a_job_runs_as_under_hydra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chdir: bool, fails: bool, watched: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    JobRuntime.instance().set("name", "train")
    folder = tmp_path / "sweep" / "job-3"
    overrides = [f"hydra.job.chdir={str(chdir).lower()}", "+hydra.job.env_set.OF_JOB=3", "hydra.verbose=jsc.of_a_test"]
    if watched:
        overrides.append("+hydra.callbacks.notes._target_=tests.sweep.test_surroundings.Notes")

    def by_hydra(config: DictConfig, task: Callable[[DictConfig], float], callbacks: Callbacks) -> None:
        context = HydraContext(config_loader=None, callbacks=callbacks)  # type: ignore[arg-type]
        returned = run_job(task, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)
        assert returned.status == (JobStatus.FAILED if fails else JobStatus.COMPLETED)

    def by_jsc(config: DictConfig, task: Callable[[DictConfig], float], callbacks: Callbacks) -> None:
        def run() -> None:
            context = HydraContext(config_loader=None, callbacks=callbacks)  # type: ignore[arg-type]
            run_in(pickle.loads(pickle.dumps(config)), folder, lambda: task(config), context, task)

        if fails:
            with pytest.raises(ValueError, match="as asked"):
                run()
        else:
            run()

    def outcome(runner: Callable[[DictConfig, Callable[[DictConfig], float], Callbacks], None]) -> list[Any]:
        seen: list[Any] = []

        def task(config: DictConfig) -> float:
            hydra = HydraConfig.get()
            logging.getLogger("jsc.of_a_test").debug("in a job")
            seen.extend([Path.cwd(), os.environ["OF_JOB"], hydra.runtime.output_dir, hydra.job.num])
            if fails:
                raise ValueError("as asked")
            return 0.5

        notes = Notes()
        runner(job_config(tmp_path / "sweep", *overrides), task, Callbacks(notes))
        assert Path.cwd() == tmp_path
        assert "OF_JOB" not in os.environ
        files = {path.name: path.read_text() for path in (folder / ".hydra").iterdir()}
        assert set(files) == {"config.yaml", "hydra.yaml", "overrides.yaml"}
        log = (folder / "train.log").read_text()
        assert log.count("in a job") == 1
        (folder / "train.log").write_text("")
        told = [[getattr(note, "__wrapped__", note) for note in n] for n in notes.notes if isinstance(n, tuple)]
        told = [[note for note in found if note is not task] for found in told]
        return [seen, files, told, [note for note in notes.notes if not isinstance(note, tuple)]]

    hydras, ours = outcome(by_hydra), outcome(by_jsc)
    assert ours[:2] == hydras[:2]
    if watched:
        assert ours[2:] == hydras[2:]
    else:
        assert ours[2:] == [[], []]


def test_a_job_that_changes_folder_leaves_the_worker_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "else").mkdir()
    context = HydraContext(config_loader=None, callbacks=Callbacks())  # type: ignore[arg-type]
    run_in(job_config(tmp_path), tmp_path / "job", lambda: os.chdir("else") or 0.5, context, print)
    assert Path.cwd() == tmp_path
