"""What Hydra gives a job: folder, the files in .hydra/, log, environment and current folder; callbacks are told.

As `hydra.core.utils.run_job` does, but for the copies of the whole configuration that it makes for whoever looks at
them, where nobody does.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, env_override
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

OWN_CALLBACK = "jsc"  # in hydra.callbacks; it looks at runs alone


@dataclass(frozen=True)
class Onlookers:
    """Hydra's callbacks, and the task that they are told of."""

    callbacks: Any
    task: TaskFunction


def run_in(config: DictConfig, folder: Path, run: Callable[[], float], onlookers: Onlookers) -> None:
    """Call `run` in the surroundings that a job's configuration names. Raises what it raises."""
    before, holder = Path.cwd(), HydraConfig.instance()
    config_before = holder.cfg
    try:
        holder.cfg = config  # type: ignore[assignment]  # ${hydra:...} is resolved in it; set_config() would copy it
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(folder)
        OmegaConf.set_readonly(config.hydra, True)
        folder.mkdir(parents=True, exist_ok=True)
        if config.hydra.job.chdir:
            os.chdir(folder)
        configure_log(config.hydra.job_logging, config.hydra.verbose)
        if config.hydra.output_subdir is not None:
            write_configs(folder / str(config.hydra.output_subdir), config)
        with env_override(config.hydra.job.env_set):
            if set(config.hydra.callbacks) <= {OWN_CALLBACK}:
                run()
            else:
                _run_watched(config, run, onlookers)
    finally:
        holder.cfg = config_before
        os.chdir(before)


def _run_watched(config: DictConfig, run: Callable[[], float], onlookers: Onlookers) -> None:
    returned = JobReturn(
        overrides=list(config.hydra.overrides.task),
        cfg=OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
        hydra_cfg=config,
        working_dir=str(Path.cwd()),
        task_name=str(config.hydra.job.name),
    )
    onlookers.callbacks.on_job_start(config=config, task_function=onlookers.task)
    error = None
    try:
        returned.return_value = run()
        returned.status = JobStatus.COMPLETED
    except Exception as raised:
        returned.return_value = error = raised
        returned.status = JobStatus.FAILED
    onlookers.callbacks.on_job_end(config=config, job_return=returned)
    if error is not None:
        raise error


def write_configs(folder: Path, config: DictConfig) -> None:
    """The three files that Hydra writes, with its content."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = OmegaConf.to_yaml(config)
    section = re.search(r"^hydra:\n(?:(?: .*)?\n)*", whole, re.MULTILINE)  # two dumps would take two copies
    assert section is not None
    contents = {
        "config.yaml": whole[: section.start()] + whole[section.end() :],
        "hydra.yaml": section[0],
        "overrides.yaml": OmegaConf.to_yaml(config.hydra.overrides.task),
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
