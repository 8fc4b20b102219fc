"""What a user waits for: four commands from their start to their end, beside what their training takes.

python -m benchmarks.waits [--repeats 5] [--jets jets.npz] [--against FOLDER] [--output waits.md]

Each repeat runs every case once, here and in the other checkout (`--against`), one after the other, so that what else
the machine does falls on both alike. The table holds the medians. `start` is the time until the first job begins;
`times fit` is the rest over the time that no sweep can be below, the fits' own over the workers. The last case trains
on the file `--jets`, and is left out without one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from jsc.results import RESULT_FILE, read_result
from jsc.sweep.split import num_cores

ROOT = Path(__file__).parents[1]
COLUMNS = ("case", "checkout", "wall, s", "start, s", "fit, s", "fit share", "times fit", "times the other")


@dataclass(frozen=True)
class Case:
    """`overrides` of `python -m jsc.train`; a sweep has jobs."""

    name: str
    overrides: Sequence[str]
    num_jobs: int = 1


@dataclass(frozen=True)
class Timing:
    """Seconds: from the command to its end, to its first job's beginning, and in the fits, over the workers."""

    wall: float
    start: float
    fit: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time what a user waits for.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jets", type=Path, help="a file of a million jets, for the long fit")
    parser.add_argument("--against", type=Path, help="another checkout of jsc, timed beside this one")
    parser.add_argument("--output", type=Path, help="where the table is written, besides the terminal")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="cases whose names hold one of these words")
    parser.add_argument("--shorter", type=int, default=1, metavar="N", help="jobs and epochs over N, for a trial")
    told = parser.parse_args(arguments)
    cases = [
        case for case in cases_of(told.jets, told.shorter) if not told.only or any(w in case.name for w in told.only)
    ]
    checkouts = [ROOT, *([told.against.absolute()] if told.against else [])]
    timings: dict[tuple[str, Path], list[Timing]] = {}
    for _ in range(told.repeats):
        for case in cases:
            for checkout in checkouts:
                with tempfile.TemporaryDirectory() as folder:
                    timings.setdefault((case.name, checkout), []).append(timed(case, checkout, Path(folder)))
                print(case.name, checkout.name, timings[case.name, checkout][-1], flush=True)
    text = table(cases, checkouts, timings)
    print(text, end="")
    if told.output is not None:
        told.output.write_text(text)


def cases_of(jets: Path | None, shorter: int) -> list[Case]:
    """Those of the house's rule on what a trick must save."""

    def sweep(num_jobs: int, epochs: int) -> Case:
        num_jobs, epochs = max(2, num_jobs // shorter), max(1, epochs // shorter)
        rates = ",".join(f"{10 ** (-1 - 4 * job / num_jobs):.3e}" for job in range(num_jobs))
        overrides = ["-m", f"optimizer.lr={rates}", f"trainer.max_epochs={epochs}", "hydra.sweep.dir=runs"]
        return Case(f"{num_jobs} learning rates x {epochs} epochs", overrides, num_jobs)

    cases = [Case("default run", ["hydra.run.dir=runs/one"]), sweep(32, 20), sweep(1000, 1)]
    if jets is not None:
        epochs = max(1, 50 // shorter)
        file = ["dataset=jsc_file", f"dataset.path={jets.absolute()}", f"trainer.max_epochs={epochs}"]
        cases.append(Case(f"{epochs} epochs of {jets.name}", [*file, "hydra.run.dir=runs/one"]))
    return cases


def timed(case: Case, checkout: Path, folder: Path) -> Timing:
    """Run the command in `folder`. Raises subprocess.CalledProcessError if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "jsc.train", *case.overrides]
    began, clock = time.time(), time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - clock
    first = min(path.stat().st_mtime for path in folder.glob("runs/*/.hydra/config.yaml"))
    fits = [read_result(path.parent).fit_seconds for path in folder.glob(f"runs/*/{RESULT_FILE}")]
    assert len(fits) == case.num_jobs
    return Timing(wall=wall, start=first - began, fit=sum(fits) / min(num_cores(), case.num_jobs))


def table(cases: Sequence[Case], checkouts: Sequence[Path], timings: dict[tuple[str, Path], list[Timing]]) -> str:
    """Markdown: medians, and each checkout's wall time over the last one's."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
    for case in cases:
        medians = {
            checkout: Timing(
                *(median(getattr(t, name) for t in timings[case.name, checkout]) for name in ("wall", "start", "fit"))
            )
            for checkout in checkouts
        }
        for checkout, t in medians.items():
            cells = [f"{t.wall:.2f}", f"{t.start:.2f}", f"{t.fit:.2f}", f"{t.fit / t.wall:.0%}"]
            cells += [f"{(t.wall - t.start) / t.fit:.2f}", f"{t.wall / medians[checkouts[-1]].wall:.2f}"]
            lines.append(f"| {case.name} | {checkout.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
