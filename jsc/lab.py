"""`python -m jsc.lab [key=value]`: the labs' questions, each run as a sweep, and one report on them all.

Keys are those of conf/lab.yaml. Words with other keys go to every sweep but those whose question varies that key.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from jsc import train
from jsc.cli.command import (
    DONE,
    FAILED,
    INTERRUPTED,
    compose,
    compose_command,
    explained_errors,
    key_of,
    quote_path,
    quoted,
    run_hydra,
)
from jsc.cli.explanation import nearest
from jsc.cli.settings import LabSettings, TrainSettings
from jsc.errors import CommandError, NoRunError
from jsc.report import report
from jsc.reporting import lab_tables

GIVEN = ("experiment", "seed", "resume", "sweep.name", "sweep.resume", "hydra.sweep.dir")


def main(words: Sequence[str]) -> int:
    """Exit code: 0 done; 1 a job failed; 2 the command was wrong; 130 interrupted."""
    if {"-h", "--help"} & set(words):
        print(f"{__doc__}\nkeys: {', '.join(LabSettings.model_fields)}")
        return DONE
    own = [word for word in words if key_of(word).partition(".")[0] in LabSettings.model_fields]
    further = [quote_path(word) for word in words if word not in own]
    lab = compose_command("lab", own, LabSettings)
    with explained_errors("train", further):
        check_words(further)
        sweeps = {question: sweep_words(question, lab, further) for question in lab.questions}
    try:
        code = run_sweeps(sweeps, out=Path(lab.out))
        if code in (DONE, FAILED) and "sweep.dry_run=true" not in further:
            print("\nThe report", flush=True)
            print(report([lab.out], lab.report, lab_tables=lab_tables()) / "report.html")
    except KeyboardInterrupt:
        print(f"jsc.lab: interrupted; the same command goes on in {lab.out}", file=sys.stderr)
        return INTERRUPTED
    except (NoRunError, OSError) as error:
        print(f"jsc.lab: {error}", file=sys.stderr)
        return FAILED
    return code


def run_sweeps(sweeps: Mapping[str, Sequence[str]], *, out: Path) -> int:
    """Run one question's sweep after the other; a failed job stops none. Raises KeyboardInterrupt."""
    started, worst = time.monotonic(), DONE
    for number, (question, words) in enumerate(sweeps.items(), start=1):
        so_far = f" ({time.monotonic() - started:.0f} s so far)" if number > 1 else ""
        print(f"\nQuestion {number} of {len(sweeps)}: {question}{so_far}", flush=True)
        code = run_sweep(words)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code not in (DONE, FAILED):
            if (out / question).exists():
                print(f"jsc.lab: {out} holds a lab; out=FOLDER starts another", file=sys.stderr)
            return code
        worst = max(worst, code)
    return worst


def check_words(words: Sequence[str]) -> None:
    """Raises CommandError on a word that the lab's sweeps cannot be given, and Hydra's errors."""
    for word in words:
        key = key_of(word)
        if word.startswith("-") or key in GIVEN:
            raise CommandError(
                f"{word}: the lab gives its sweeps that itself; its keys: {', '.join(LabSettings.model_fields)}"
            )
        if "=" in word and "." not in key and "/" not in key and key not in TrainSettings.model_fields:
            known = [*LabSettings.model_fields, *TrainSettings.model_fields]
            raise CommandError(f"{word}: there is no setting {key!r}. {nearest(key, known)}")
    for override in OverridesParser.create().parse_overrides(list(words)):
        if override.is_sweep_override():
            raise CommandError(f"{override.input_line}: give one value; a lab varies what its questions name")


def sweep_words(question: str, lab: LabSettings, further: Sequence[str]) -> list[str]:
    """The words of one question's sweep, which goes on with what its folder holds. Raises Hydra's errors."""
    varied = compose("train", [f"experiment={question}", *further]).hydra.sweeper.params
    given = {key_of(w): w for w in (*lab.scale.words, *further)}
    kept = [word for key, word in given.items() if not any(f"{key}.".startswith(f"{name}.") for name in varied)]
    folder = quoted(str(Path(lab.out) / question))
    seeds = ",".join(map(str, lab.seeds))
    place = [f"sweep.resume={folder}", f"hydra.sweep.dir={folder}"]
    return ["-m", f"experiment={question}", *kept, f"seed={seeds}", *place]


def run_sweep(words: Sequence[str]) -> int:
    """The exit code of `python -m jsc.train WORDS`, run in this process: the workers of all sweeps are forks of one."""
    sys.argv[1:] = words
    try:
        run_hydra(train.main, "train")
    except SystemExit as ended:
        return int(ended.code or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
