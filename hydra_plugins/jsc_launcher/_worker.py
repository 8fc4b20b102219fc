"""What a worker process does: it runs job after job as they come down its pipe.

It is sent its environment, the task function and Hydra's state, then Assignments; it answers each with an Outcome.
Everything that a job prints, and a crash's traceback, goes into the job's own log.
"""

import contextlib
import faulthandler
import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write

from hydra_plugins.jsc_launcher._job import run_job
from jsc.errors import JobFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assignment:
    """A job: its configuration, pickled, its log, and what is done in its folder before it starts.

    `is_training`: it is one of jsc.train's. It may go on from a checkpoint, `resume_from`, and its configuration need
    not come back: the sweep would wait longer for that than for all else of the Outcome.
    """

    packed_config: bytes
    resume_from: Path | None
    log_file: Path
    prepare: Callable[[], None] | None
    is_training: bool


@dataclass(frozen=True)
class Outcome:
    """`job_return` is None if the job was interrupted."""

    job_return: JobReturn | None


def work(pipe: Connection) -> None:
    """The whole life of a worker."""
    os.setpgid(0, 0)  # Ctrl-C on the terminal is for the sweep, which stops its workers with SIGTERM
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        environment: dict[str, str] = cloudpickle.loads(pipe.recv_bytes())
        os.environ.clear()
        os.environ.update(environment)
        task_function, hydra_context, state = cloudpickle.loads(pipe.recv_bytes())
        Singleton.set_state(state)
        while True:
            assignment: Assignment = cloudpickle.loads(pipe.recv_bytes())
            outcome = _outcome(task_function, hydra_context, assignment)
            pipe.send_bytes(cloudpickle.dumps(outcome))
            if outcome.job_return is None:
                return
    except (EOFError, ConnectionError, KeyboardInterrupt):
        return  # there are no more jobs, or the sweep is dead, or it stops


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Once: it may come from the sweep and, more than once, from Slurm to each of its processes."""
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return  # the run is writing its record
        error = error.__context__
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _die_with_parent() -> None:
    """A worker whose sweep was killed must not write into folders that a resumed sweep takes over."""
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _outcome(task_function: TaskFunction, hydra_context: HydraContext, assignment: Assignment) -> Outcome:
    _send_output_to(assignment.log_file)
    config: DictConfig | None = None

    def logged_task(config: DictConfig) -> Any:
        _log_once()
        try:
            if assignment.prepare is not None:
                assignment.prepare()
            return task_function(config)
        except JobFailed:
            raise
        except Exception:
            log.exception("The job failed.")
            raise

    try:
        config = pickle.loads(assignment.packed_config)
        if assignment.resume_from is not None:
            with read_write(config):
                config.resume = str(assignment.resume_from)
        job_return = run_job(logged_task, config, hydra_context, is_training=assignment.is_training)
    except KeyboardInterrupt:
        return Outcome(None)
    except Exception as error:  # Hydra's own, before the task began
        log.exception("The job could not be started.")
        overrides = [] if config is None else [str(override) for override in config.hydra.overrides.task]
        job_return = JobReturn(overrides=overrides)
        job_return.status, job_return.return_value = JobStatus.FAILED, error
    _make_sendable(job_return)
    if assignment.is_training:
        job_return.cfg = job_return.hydra_cfg = None
    return Outcome(job_return)


def _send_output_to(log_file: Path) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    log_file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    faulthandler.disable()  # Lightning puts the signals back as it found them, and a second enable() does nothing
    faulthandler.enable(2)


def _log_once() -> None:
    """Standard output is the job's log here: a handler for the console would say again what one for the file says."""
    root = logging.getLogger()
    if any(isinstance(handler, logging.FileHandler) for handler in root.handlers):
        for handler in [h for h in root.handlers if type(h) is logging.StreamHandler]:
            root.removeHandler(handler)


def _make_sendable(job_return: JobReturn) -> None:
    """A value or an error of the task's that cannot be pickled is replaced by its text."""
    value = job_return._return_value
    with contextlib.suppress(Exception):
        cloudpickle.loads(cloudpickle.dumps(value))
        return
    job_return.return_value = RuntimeError(repr(value)) if isinstance(value, BaseException) else repr(value)
