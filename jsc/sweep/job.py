"""The one way to run a job, alone or of a sweep: from checked settings to its record."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsc.cli import console
from jsc.cli.command import command_of, default_settings, key_of
from jsc.cli.settings import TrainSettings
from jsc.errors import JobFailed
from jsc.results import RESULT_FILE, RunResult, write_record
from jsc.sweep.plan import Job

if TYPE_CHECKING:
    from jsc.run.assembly import Prepared

log = logging.getLogger(__name__)


def run_job(
    settings: TrainSettings,
    folder: Path,
    overrides: Sequence[str],
    resume_from: Path | None,
    varied: Sequence[str],
    prepared: "Prepared | None" = None,
) -> RunResult:
    """Train, test and record it; say what it is told, and how it ends. Raises JobFailed when it has said why.

    `prepared`: what was built of it before.
    """
    from jsc.run.training import train, train_prepared

    logging.captureWarnings(True)  # into its log as well
    try:
        defaults = default_settings("train", TrainSettings)
        log.info(console.settings_table(defaults, settings.model_dump(by_alias=True), overrides))
        command = command_of([word for word in overrides if key_of(word) != "resume"])
        if prepared is not None:
            return train_prepared(prepared, command=command, resume_from=resume_from, varied=varied)
        return train(settings, folder=folder, command=command, resume_from=resume_from, varied=varied)
    except Exception as error:
        log.exception("The run failed.")
        raise JobFailed(f"{type(error).__name__}: {error}") from error


def record_failure(job: Job, message: str, seconds: float) -> None:
    """Write the result.json that a job could not write itself."""
    from jsc.run.training import Run

    run = Run(job.settings, job.folder, job.command, clock=time.perf_counter() - seconds)
    write_record(job.folder / RESULT_FILE, run.record("failed", message))
