"""A lab: one sweep for each of its questions, run one after the other.

The questions are those of five student reports on a lab of a MASE course; conf/experiment/ has a file for each.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from jsc.cli.command import DONE, FAILED, INTERRUPTED, compose, key_of, quoted
from jsc.cli.explanation import nearest
from jsc.cli.settings import LabSettings, TrainSettings
from jsc.errors import CommandError

GIVEN = ("experiment", "seed", "resume", "sweep.name", "sweep.resume", "hydra.sweep.dir")


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises CommandError on an override that the lab's sweeps cannot be given, and Hydra's errors."""
    for override in overrides:
        key = key_of(override)
        if override.startswith("-") or key in GIVEN:
            raise CommandError(
                f"{override}: the lab gives its sweeps that itself; its keys: {', '.join(LabSettings.model_fields)}"
            )
        if "=" in override and "." not in key and "/" not in key and key not in TrainSettings.model_fields:
            known = [*LabSettings.model_fields, *TrainSettings.model_fields]
            raise CommandError(f"{override}: there is no setting {key!r}. {nearest(key, known)}")
    for parsed in OverridesParser.create().parse_overrides(list(overrides)):
        if parsed.is_sweep_override():
            raise CommandError(f"{parsed.input_line}: give one value; a lab varies what its questions name")


def sweep_arguments(question: str, lab: LabSettings, overrides: Sequence[str]) -> list[str]:
    """The words of one question's sweep, which goes on with what its folder holds. Raises Hydra's errors.

    Of the lab's own `overrides` those are left out whose keys the question varies.
    """
    varied = compose("train", [f"experiment={question}", *overrides]).hydra.sweeper.params
    given = {key_of(o): o for o in (*lab.scale.overrides, *overrides)}
    kept = [override for key, override in given.items() if not any(f"{key}.".startswith(f"{v}.") for v in varied)]
    folder = quoted(str(Path(lab.out) / question))
    seeds = ",".join(map(str, lab.seeds))
    place = [f"sweep.resume={folder}", f"hydra.sweep.dir={folder}"]
    return ["-m", f"experiment={question}", *kept, f"seed={seeds}", *place]


def run_sweeps(sweeps: Mapping[str, Sequence[str]], *, out: Path, run: Callable[[Sequence[str]], int]) -> int:
    """Run one question's sweep after the other; a failed job stops none. Returns the exit code.

    `run` takes the arguments of `python -m jsc.train` and returns its exit code. Raises KeyboardInterrupt.
    """
    started, worst = time.monotonic(), DONE
    for number, (question, arguments) in enumerate(sweeps.items(), start=1):
        so_far = f" ({time.monotonic() - started:.0f} s so far)" if number > 1 else ""
        print(f"\nQuestion {number} of {len(sweeps)}: {question}{so_far}", flush=True)
        code = run(arguments)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code not in (DONE, FAILED):
            if (out / question).exists():
                print(f"jsc.lab: {out} holds a lab; out=FOLDER starts another", file=sys.stderr)
            return code
        worst = max(worst, code)
    return worst
