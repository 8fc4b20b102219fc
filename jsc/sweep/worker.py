"""What a worker process does: it runs job after job as they come down its pipe.

It is sent its environment and what all jobs share, then Orders; it answers each with an Answer. Everything that a job
prints, and a crash's traceback, goes into the job's own log.
"""

import faulthandler
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Literal

from hydra.core.utils import setup_globals
from hydra.types import HydraContext, TaskFunction

from jsc.errors import JobFailed
from jsc.sweep.job import record_failure, run_job
from jsc.sweep.place import job_lock
from jsc.sweep.plan import Job
from jsc.sweep.prefix import adopt_run, shorter_run
from jsc.sweep.surroundings import run_in

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """`alike`: folders of jobs that begin as this one. `is_afresh`: what an earlier try left is not gone on from."""

    job: Job
    varied: Sequence[str]
    alike: Sequence[Path]
    is_afresh: bool


@dataclass(frozen=True)
class Answer:
    """`taken`: another process runs the job now. A job that ended or failed has left its record."""

    how: Literal["ended", "failed", "interrupted", "taken"]
    error: str | None = None


def work(pipe: Connection) -> None:
    """The whole life of a worker."""
    os.setpgid(0, 0)  # Ctrl-C on the terminal is for the sweep, which stops its workers with SIGTERM
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        environment: dict[str, str] = pickle.loads(pipe.recv_bytes())
        os.environ.clear()
        os.environ.update(environment)
        setup_globals()
        callbacks, task = pickle.loads(pipe.recv_bytes())
        context = HydraContext(config_loader=None, callbacks=callbacks)  # type: ignore[arg-type]
        while True:
            answer = run(pickle.loads(pipe.recv_bytes()), context, task)
            pipe.send_bytes(pickle.dumps(answer))
            if answer.how == "interrupted":
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


def run(order: Order, context: HydraContext, task: TaskFunction) -> Answer:
    """One job, unless another process has it, or has brought it to its end."""
    job, started = order.job, time.perf_counter()

    def run_here() -> float:
        _log_once()
        resume_from = _resumed(order)
        return run_job(job.settings, job.folder, job.overrides, resume_from, order.varied).objective

    with job_lock(job.folder) as is_ours:
        if not is_ours:
            return Answer("taken")
        if job.is_finished():
            return Answer("ended")
        _send_output_to(job.log_file)
        try:
            run_in(pickle.loads(job.config), job.folder, run_here, context, task)
        except KeyboardInterrupt:
            return Answer("interrupted")
        except JobFailed as error:
            return Answer("failed", str(error))
        except Exception as error:  # of the job's surroundings
            log.exception("The job could not be started.")
            record_failure(job, repr(error), time.perf_counter() - started)
            return Answer("failed", repr(error))
        return Answer("ended")


def _resumed(order: Order) -> Path | None:
    """The checkpoint that the job goes on from: its own, or that of a shorter run that begins as it does."""
    job = order.job
    if job.can_go_on() and not order.is_afresh:
        return job.last_checkpoint
    job.clear()
    shorter = shorter_run(order.alike, job.max_epochs)
    if shorter is None:
        return None
    adopt_run(shorter, job.folder, job.settings)
    return job.last_checkpoint


def _send_output_to(log_file: Path) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
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
