"""Pulls the plug on a sweep, again and again: is a completed job ever lost, and is the table in the end the same?

python -m benchmarks.kills [--kills 100] [--seed 0]

One undisturbed sweep is the measure. Then the same sweep is run in a folder of its own and killed with SIGKILL: all of
its processes, the sweep's own, some of its workers, or the process that they are forks of, at an instant drawn anew
each time, and resumed until it ends; then the next. Ends with exit code 1 at the first difference.
"""

import argparse
import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from jsc.errors import ResultError
from jsc.results import RESULT_FILE, read_result

SWEEP = ("optimizer.lr=1e-1,1e-2,1e-3", "seed=0,1", "trainer.max_epochs=40", "hydra.launcher.num_workers=2")
LONGEST_WAIT = 15.0  # seconds to a kill, drawn uniformly: from before the first import to after the last job
OF_THE_CLOCK = ("seconds", "fit_seconds", "total_seconds", "jets_per_second", "group_fit_seconds_mean")


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill sweeps at random instants and compare what is left.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the instants and the victims")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    tally: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        subprocess.run(command(root / "undisturbed", resume=False), cwd=root, check=True, stdout=subprocess.DEVNULL)
        expected = table(root / "undisturbed")
        num_sweeps = 0
        while sum(tally.values()) < arguments.kills:
            num_sweeps += 1
            survive(root, root / f"sweep_{num_sweeps}", draw, tally, arguments.kills)
            found = table(root / f"sweep_{num_sweeps}")
            if found != expected:
                print(f"sweep {num_sweeps} ended with another table:\n{found}\ninstead of\n{expected}")
                return 1
            print(f"sweep {num_sweeps}: the table of the undisturbed one, after {dict(tally)} in all", flush=True)
    print(
        f"{sum(tally.values())} kills ({dict(tally)}), {num_sweeps} sweeps: no completed job lost, every table the same"
    )
    return 0


def command(folder: Path, *, resume: bool) -> list[str]:
    words = [f"sweep.resume={folder}"] if resume else [*SWEEP, f"hydra.sweep.dir={folder}"]
    return [sys.executable, "-m", "jsc.train", "-m", *words]


def survive(root: Path, folder: Path, draw: random.Random, tally: Counter[str], most: int) -> None:
    """Run the sweep in `folder` to its end, through kills. Raises RuntimeError if one loses a completed job."""
    while True:
        before = completed(folder)
        begun = (folder / "sweep.json").is_file()
        process = subprocess.Popen(
            command(folder, resume=begun), cwd=root, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait = draw.uniform(0.0, LONGEST_WAIT)
        victim = draw.choice(["group", "sweep", "worker", "server"]) if sum(tally.values()) < most else None
        try:
            code = process.wait(wait if victim else None)
        except subprocess.TimeoutExpired:
            tally[strike(process, victim or "group", draw)] += 1
            code = process.wait()
        lost = {name for name, digest in before.items() if completed(folder).get(name) != digest}
        if lost:
            raise RuntimeError(f"{folder}: completed jobs are lost or changed: {sorted(lost)}")
        if code == 0:
            return
        time.sleep(1.0)  # a killed sweep's workers notice and end


def strike(process: subprocess.Popen[bytes], victim: str, draw: random.Random) -> str:
    """Kill a part of the sweep; returns which."""
    servers, workers = servers_of(process.pid), workers_of(process.pid)
    targets = {"worker": workers[: draw.randint(1, 2)], "server": servers, "group": [*servers, *workers]}
    for pid in targets.get(victim, []):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if victim in ("worker", "server") and targets[victim]:
        return victim
    process.kill()
    return victim if victim == "group" else "sweep"


def workers_of(pid: int) -> list[int]:
    """Processes that run a sweep's jobs: forks of its fork server."""
    return [worker for server in servers_of(pid) for worker, _ in children_of(server)]


def servers_of(pid: int) -> list[int]:
    return [child for child, words in children_of(pid) if "forkserver" in words]


def children_of(pid: int) -> list[tuple[int, str]]:
    """Process ids and command lines."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    rows = [line.strip().partition(" ") for line in found.stdout.splitlines()]
    return [(int(number), words) for number, _, words in rows]


def completed(folder: Path) -> dict[str, str]:
    """The digest of every completed job's record."""
    digests = {}
    for path in folder.glob(f"*/{RESULT_FILE}"):
        try:
            if read_result(path.parent).status == "completed":
                digests[path.parent.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        except ResultError:
            continue
    return digests


def table(folder: Path) -> list[dict[str, str]]:
    """`sweep.csv` without what the clock and the folder's place decide, by job."""
    with (folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [
        {
            k: v
            for k, v in row.items()
            if k not in OF_THE_CLOCK and "seconds" not in k and not k.startswith("checkpoint")
        }
        for row in rows
    ]
    return sorted(kept, key=lambda row: row["folder"])


if __name__ == "__main__":
    sys.exit(main())
