"""Simulate jets with Pythia 8; dataset=jsc_simulated trains on them.

Needs: pip install 'jsc[simulate]'

python -m jsc.simulate num_jets=1000000 num_workers=2
python -m jsc.simulate num_jets=20000 seed=7 out=outputs/simulated/mine
"""

import sys
from pathlib import Path

from jsc.cli.command import DONE, FAILED, INTERRUPTED, WRONG_COMMAND, compose_command
from jsc.cli.help import answers_help
from jsc.cli.settings import SimulateSettings
from jsc.errors import SimulationError, WorkerError
from jsc.simulation import JETS_FILE, open_production, progress_bar


def main() -> int:
    """Simulate, showing progress. Returns the exit code: 0 done, 1 failed, 2 wrong command, 130 interrupted."""
    if answers_help(sys.argv[1:], __doc__, "simulate", SimulateSettings):
        return DONE
    command = compose_command("simulate", sys.argv[1:], SimulateSettings)
    out = Path(command.out)
    to_go_on = f"finished shards are kept in {out}; the same command goes on from there"
    try:
        with (
            open_production(out, num_jets=command.num_jets, seed=command.seed) as production,
            progress_bar(command.num_jets, production.num_jets_done) as advance,
        ):
            manifest = production.run(num_workers=command.num_workers, on_jets=advance)
    except SimulationError as error:
        print(f"jsc.simulate: {error}", file=sys.stderr)
        return WRONG_COMMAND
    except (WorkerError, OSError) as error:
        print(f"jsc.simulate: {error}\n{to_go_on}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"jsc.simulate: interrupted; {to_go_on}", file=sys.stderr)
        return INTERRUPTED
    print(f"{out / JETS_FILE}: {manifest['num_jets_by_class']}, SHA-256 {manifest['sha256']}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
