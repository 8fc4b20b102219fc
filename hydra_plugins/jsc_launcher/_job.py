"""Runs one job as Hydra's `run_job` does; a training run's in a fifth of its time.

Hydra copies a job's whole configuration four times by deepcopy and writes it with the YAML library in Python: 50 ms,
where a tiny network trains for 200. The copies are for callbacks and for those who get the JobReturn. Where there is
nobody to look at them they are not made; folder, files, log, environment and result are as with Hydra.
"""

import os
import pickle
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra.core import utils as by_hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf._utils import get_omega_conf_dumper


def run_job(
    task_function: TaskFunction, config: DictConfig, hydra_context: HydraContext, *, is_training: bool
) -> JobReturn:
    """Run `task_function` with `config`, to which its folder is added. What the task raises is in the JobReturn.

    `is_training`: the task is jsc.train's, which leaves its configuration as it is, and the JobReturn need not bear it.
    """
    folder_before = Path.cwd()
    try:
        if is_training and not hydra_context.callbacks.callbacks:
            return _run_unseen(task_function, config)
        return by_hydra.run_job(task_function, config, "hydra.sweep.dir", "hydra.sweep.subdir", hydra_context)
    finally:
        os.chdir(folder_before)  # the task may have gone elsewhere, and the worker goes on


def _run_unseen(task_function: TaskFunction, config: DictConfig) -> JobReturn:
    holder = HydraConfig.instance()
    config_before = holder.cfg
    holder.cfg = config  # type: ignore[assignment]  # ${hydra:...} is resolved in it
    try:
        folder = Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)).absolute()
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(folder)
        OmegaConf.set_readonly(config.hydra, True)
        job = config.hydra.job
        returned = JobReturn(overrides=_plain(config.hydra.overrides.task))
        folder.mkdir(parents=True, exist_ok=True)
        changes_folder = job.chdir if job.chdir is not None else not version.base_at_least("1.2")
        returned.working_dir = str(folder if changes_folder else Path.cwd())
        if changes_folder:
            os.chdir(folder)
        by_hydra.configure_log(config.hydra.job_logging, config.hydra.verbose)
        if config.hydra.output_subdir is not None:
            _write_configs(folder / str(config.hydra.output_subdir), config)
        with by_hydra.env_override(job.env_set):
            try:
                returned.return_value = task_function(config)
                returned.status = JobStatus.COMPLETED
            except Exception as error:
                returned.return_value = error
                returned.status = JobStatus.FAILED
        returned.task_name = JobRuntime.instance().get("name")
        by_hydra._flush_loggers()
        return returned
    finally:
        holder.cfg = config_before


def _write_configs(folder: Path, config: DictConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    task = _plain(config)
    hydra = task.pop("hydra")
    contents = {
        "config.yaml": "".join(_entry(pickle.dumps({key: value})) for key, value in task.items()),
        "hydra.yaml": "hydra:\n"
        + "".join(
            _entry(pickle.dumps({"hydra": {key: value}})).removeprefix("hydra:\n") for key, value in hydra.items()
        ),
        "overrides.yaml": as_yaml(hydra["overrides"]["task"]),
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=False, enum_to_str=True)


@lru_cache(maxsize=1000)
def _entry(pickled: bytes) -> str:
    """One section as YAML; most are the same in all of a sweep's jobs."""
    return as_yaml(pickle.loads(pickled))


def as_yaml(content: Any) -> str:
    """What OmegaConf.to_yaml writes of the same content."""
    text: str = yaml.dump(content, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=_dumper())
    return text


@cache
def _dumper() -> type[Any]:
    by_omegaconf: Any = get_omega_conf_dumper()
    if not yaml.__with_libyaml__:
        return by_omegaconf  # type: ignore[no-any-return]

    class Dumper(yaml.CDumper):  # type: ignore[misc]  # it comes without types
        pass

    represent: Callable[[Any, str], Any] = by_omegaconf.str_representer
    Dumper.add_representer(str, represent)
    return Dumper
