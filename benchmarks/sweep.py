"""What a sweep takes beside its training: the start of its workers, all that surrounds a job's fit, and its end.

python -m benchmarks.sweep [--jobs 32] [--epochs 20] [--repeats 5]

Each repeat is a command, a sweep of learning rates of jsc-tiny on jsc_sample with one worker a core. Its time is split
where the first job begins; the rest is compared with the time that no sweep can be below: the fits' own, over the
workers.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median

from jsc.sweep.split import num_cores
from jsc.results import RESULT_FILE, read_result


@dataclass(frozen=True)
class Timing:
    """In seconds; `times_fit`: `jobs` over `fit`."""

    start: float
    jobs: float
    fit: float
    times_fit: float


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time a sweep beside its training.")
    parser.add_argument("--jobs", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args(words)
    print(f"{arguments.jobs} jobs of {arguments.epochs} epochs on {num_cores()} cores")
    print(row([field.name for field in fields(Timing)]), flush=True)
    timings = []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            timings.append(timed(Path(folder), arguments.jobs, arguments.epochs))
        print(row(astuple(timings[-1])), flush=True)
    print(f"{row([median(column) for column in zip(*map(astuple, timings), strict=True)])}  (medians)")


def row(cells: Sequence[str | float]) -> str:
    return "".join(f"{cell:>11}" if isinstance(cell, str) else f"{cell:11.2f}" for cell in cells)


def timed(folder: Path, num_jobs: int, num_epochs: int) -> Timing:
    """Run the sweep. Raises subprocess.CalledProcessError if a job fails."""
    rates = ",".join(f"{10 ** (-1 - 4 * job / num_jobs):.3e}" for job in range(num_jobs))
    sweep = [f"optimizer.lr={rates}", f"trainer.max_epochs={num_epochs}", "hydra.sweep.dir=sweep"]
    started = time.time()
    subprocess.run([sys.executable, "-m", "jsc.train", "-m", *sweep], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    ended = time.time()
    first = min(path.stat().st_mtime for path in folder.glob("sweep/*/.hydra/config.yaml"))
    results = [read_result(path.parent) for path in folder.glob(f"sweep/*/{RESULT_FILE}")]
    fit = sum(result.fit_seconds for result in results) / min(num_cores(), num_jobs)
    return Timing(start=first - started, jobs=ended - first, fit=fit, times_fit=(ended - first) / fit)


if __name__ == "__main__":
    main()
