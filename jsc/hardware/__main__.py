"""A quantised network's circuit, its proof and its cost.

python -m jsc.hardware checkpoint=RUN [out=FOLDER] [hardware.KEY=VALUE]
python -m jsc.hardware prove circuit=FOLDER     # the proof again, as it is now
python -m jsc.hardware predict circuit=FOLDER dataset=jsc_sample    # scores
"""

import sys

from jsc.cli.command import DONE, FAILED, INTERRUPTED, compose_command, explained_errors, key_of
from jsc.cli.help import answers_help
from jsc.cli.imports import lean_imports
from jsc.cli.settings import HardwareSettings
from jsc.errors import CircuitError, CommandError

READ = {
    "make": ("checkpoint", "dataset", "out", "hardware"),
    "prove": ("circuit", "dataset", "hardware.simulator", "hardware.random_vectors"),
    "predict": ("circuit", "dataset"),
}
READ_FOR_HLS4ML = ("backend", "random_vectors", "part", "clock_period_ns")


def main(words: list[str]) -> int:
    """Returns the exit code."""
    if answers_help(words, __doc__, "hardware", HardwareSettings):
        return DONE
    command = words.pop(0) if words and words[0] in READ else "make"
    settings = compose_command("hardware", words, HardwareSettings)
    with lean_imports():
        from jsc.run import hardware  # loads torch: a misspelt key is answered before that
    try:
        with explained_errors("hardware", words):
            _refuse_unread(command, settings, words)
            {"make": hardware.make, "prove": hardware.prove_again, "predict": hardware.predict}[command](settings)
    except CircuitError as error:
        print(f"jsc.hardware: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("jsc.hardware: interrupted; no folder was left half written", file=sys.stderr)
        return INTERRUPTED
    return DONE


def _refuse_unread(command: str, settings: HardwareSettings, words: list[str]) -> None:
    """Raises CommandError for a key that this command, or this back end, would not look at."""
    read = READ[command]
    if command == "make" and settings.hardware.backend == "hls4ml":
        read = (*read[:-1], *(f"hardware.{key}" for key in READ_FOR_HLS4ML))
    for key in map(key_of, words):
        if not any(f"{key}.".startswith(f"{known}.") for known in read):
            raise CommandError(f"{key}= is not read here: this command reads {', '.join(read)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
