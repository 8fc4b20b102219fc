"""Sweeps on a real Ray cluster of two nodes, both on this machine."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jsc.results import read_result
from jsc.run.training import train
from tests.conftest import settings_of
from tests.jsc_launcher.clusters import require, wait_for_epochs
from tests.jsc_launcher.conftest import SweepCommand
from tests.jsc_launcher.test_launch import assert_same_run, table, trap
from tests.processes import KILLED, command_process

pytestmark = pytest.mark.slow

# In a process of its own: Ray warns of much while it is imported, and here warnings are errors.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
small = dict(num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False)
cluster = Cluster(initialize_head=True, head_node_args=small)
node = cluster.add_node(**small)
print(cluster.address, flush=True)
for line in sys.stdin:  # each asks for a node to be killed
    cluster.remove_node(node, allow_graceful=False)
    print("killed", flush=True)
cluster.shutdown()
"""


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Two nodes of two CPUs; a line to its standard input kills the second."""
    require("ray", "ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            monkeypatch.setenv("RAY_ADDRESS", process.stdout.readline().strip())
            yield process
            process.stdin.close()
            process.wait(60)
        finally:
            process.kill()


__all__ = ["trap"]  # a fixture
RAY = ("hydra/launcher=ray", "hydra.launcher.num_tasks=2", "hydra.launcher.cpus_per_task=2")


def test_a_sweep_on_two_nodes_goes_on_whatever_is_stopped_or_killed(
    ray_cluster: subprocess.Popen[str], sweep_command: SweepCommand, trap: list[str], tmp_path: Path
) -> None:
    """Ctrl-C at the head, kill -9 of the head, the end of a node."""
    sweep = tmp_path / "s"
    settings = [*trap[:-1], "trainer.max_epochs=20", "+model.options.how=slow"]
    more = ["optimizer.lr=0.1,0.01", "hydra.launcher.num_workers=1", "hydra.sweep.dir=s"]
    with command_process(tmp_path, "jsc.train", "-m", *settings, *more, *RAY) as head:
        wait_for_epochs(sweep, 2, num_jobs=2)
        assert head.stop(signal.SIGINT) == 130, head.output()
    assert [row["status"] for row in table(sweep)] == ["interrupted"] * 2
    assert [read_result(path.parent).status for path in sweep.glob("*/result.json")] == ["interrupted"] * 2

    with command_process(tmp_path, "jsc.train", "sweep.resume=s", trap[0]) as head:
        wait_for_epochs(sweep, 2, num_jobs=2)
        assert head.stop(signal.SIGKILL) == KILLED

    with command_process(
        tmp_path, "jsc.train", "sweep.resume=s", trap[0]
    ) as head:  # Ray ends the tasks of the killed head
        wait_for_epochs(sweep, 2, num_jobs=2)
        assert ray_cluster.stdin is not None
        ray_cluster.stdin.write("kill a node\n")
        ray_cluster.stdin.flush()
        assert head.end() == 1
    rows = table(sweep)
    assert [row["status"] for row in rows] == ["completed", "interrupted"]
    assert "its Ray task jsc-" in rows[1]["error"]
    assert "1 of 2 jobs did not come to their end" in head.output()

    (tmp_path / "armed").unlink()
    assert sweep_command("sweep.resume=s", trap[0], "hydra/launcher=jsc", "hydra.launcher.num_workers=1") == 0
    assert {row["status"] for row in table(sweep)} == {"completed"}
    alone = run_alone(tmp_path / "alone", *settings, f"optimizer.lr={rows[1]['optimizer.lr']}")
    assert_same_run(alone, sweep / rows[1]["folder"])


def run_alone(folder: Path, *settings: str) -> Path:
    folder.mkdir()
    train(settings_of(*settings), folder=folder, command="")
    return folder
