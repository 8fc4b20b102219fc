"""Score a checkpoint on the test split: accuracy, precision, recall, AUC.

python -m jsc.test checkpoint=outputs/runs/jsc-tiny/RUN
python -m jsc.test checkpoint=RUN dataset=jsc_file dataset.path=jets.npz
python -m jsc.test checkpoint=a.safetensors model=jsc_tiny dataset=jsc
"""

import sys

from jsc.cli.command import compose_command, explained_errors
from jsc.cli.help import answers_help
from jsc.cli.imports import lean_imports
from jsc.cli.settings import TestSettings


def entry() -> None:
    if answers_help(sys.argv[1:], __doc__, "test", TestSettings):
        return
    settings = compose_command("test", sys.argv[1:], TestSettings)
    with lean_imports():
        from jsc.run.scored_checkpoint import score_checkpoint  # loads torch: a misspelt key is answered before that
    with explained_errors("test", sys.argv[1:]):
        score_checkpoint(settings)


if __name__ == "__main__":
    entry()
