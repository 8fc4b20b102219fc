"""A quantised network's circuit, its proof and its cost.

python -m jsc.hardware checkpoint=RUN [out=FOLDER] [hardware.key=value]     conf/hardware.yaml explains the keys
python -m jsc.hardware prove circuit=FOLDER [dataset=...]                   the proof again, of a folder as it is now
python -m jsc.hardware predict circuit=FOLDER [dataset=...]                 the scores of a circuit's integers
"""

import sys

from jsc.cli.command import DONE, FAILED, INTERRUPTED, compose_command, explained_errors
from jsc.cli.imports import lean_imports
from jsc.cli.settings import HardwareSettings
from jsc.errors import CircuitError

COMMANDS = ("make", "prove", "predict")


def main(words: list[str]) -> int:
    """Returns the exit code."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return DONE
    command = words.pop(0) if words and words[0] in COMMANDS else "make"
    settings = compose_command("hardware", words, HardwareSettings)
    with lean_imports():
        from jsc.run import circuit  # loads torch: a misspelt key is answered before that
    try:
        with explained_errors("hardware", words):
            {"make": circuit.make, "prove": circuit.prove_again, "predict": circuit.predict}[command](settings)
    except CircuitError as error:
        print(f"jsc.hardware: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("jsc.hardware: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
