"""Score a checkpoint on the test split.

python -m jsc.test checkpoint=PATH [model=...] [dataset=...]        conf/test.yaml explains the keys
"""

import sys

from jsc.cli.command import compose_command, explained_errors
from jsc.cli.imports import lean_imports
from jsc.cli.settings import TestSettings


def entry() -> None:
    settings = compose_command("test", sys.argv[1:], TestSettings)
    with lean_imports():
        from jsc.run.scored_checkpoint import score_checkpoint  # loads torch: a misspelt word is answered before that
    with explained_errors("test", sys.argv[1:]):
        score_checkpoint(settings)


if __name__ == "__main__":
    entry()
