import hashlib
import json
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastjet", reason="the extra jsc[simulate] is not installed")
pytest.importorskip("pythia8mc", reason="the extra jsc[simulate] is not installed")

from jsc.errors import SimulationError, WorkerError
from jsc.simulation import open_production, workers
from jsc.simulation.shards import Shard, read_shard
from jsc.simulation.workers import run_shards

# Two shards of g and one of each other class. Few, because each starts a Pythia, a second or more.
SETTINGS = {"num_jets": 6, "seed": 5, "jets_per_shard": 1}
REPOSITORY = Path(__file__).parents[2]


def produce(folder: Path, num_workers: int = 1, **changes: Any) -> tuple[dict[str, Any], int]:
    """The manifest, and how many jets were simulated now."""
    new_jets = []
    with open_production(folder, **{**SETTINGS, **changes}) as production:
        manifest = production.run(num_workers=num_workers, on_jets=new_jets.append)
    return manifest, sum(new_jets)


def wait_until(is_so: Any) -> None:
    for _ in range(6000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("this never happened")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A data set made in one go by one worker."""
    folder = tmp_path_factory.mktemp("finished")
    manifest, num_new = produce(folder)
    assert num_new == 6
    return folder, manifest


def test_the_data_set_is_as_documented(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = finished
    assert {path.name for path in folder.iterdir()} <= {".lock", "jets.npz", "manifest.json"}
    with np.load(folder / "jets.npz") as file:
        assert sorted(file.files) == ["X", "class_names", "feature_names", "pt", "y"]
        x, y, pt = file["X"], file["y"], file["pt"]
        assert file["class_names"].tolist() == ["g", "q", "w", "z", "t"]
    assert (x.shape, x.dtype, y.dtype, pt.dtype) == ((6, 16), np.float32, np.int8, np.float32)
    assert np.bincount(y).tolist() == [2, 1, 1, 1, 1]
    assert np.isfinite(x).all()
    assert len(np.unique(x, axis=0)) == 6
    assert ((pt > 800) & (pt < 1200)).all()
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert manifest["sha256"] == hashlib.sha256((folder / "jets.npz").read_bytes()).hexdigest()
    assert manifest["num_jets_by_class"] == {"g": 2, "q": 1, "w": 1, "z": 1, "t": 1}
    assert manifest["settings"].items() >= SETTINGS.items()
    assert set(manifest["versions"]) == {"pythia8mc", "fastjet", "numpy"}


@pytest.mark.slow
def test_two_workers_a_kill_and_a_truncated_shard_change_no_byte(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shard_folder = tmp_path / "shards"
    code = (
        "import pathlib, sys\n"
        "from jsc.simulation import open_production\n"
        f"with open_production(pathlib.Path(sys.argv[1]), **{SETTINGS}) as production:\n"
        "    production.run(num_workers=2, on_jets=lambda num: None)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY)
    wait_until(lambda: len(list(shard_folder.glob("*.npz"))) >= 1 or process.poll() is not None)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "jets.npz").exists()
    done = sorted(shard_folder.glob("*.npz"))
    done[0].write_bytes(done[0].read_bytes()[:-40])

    manifest, num_new = produce(tmp_path, num_workers=2)

    assert num_new <= 6 - (len(done) - 1)  # the truncated one again, the others not
    assert (tmp_path / "jets.npz").read_bytes() == (finished[0] / "jets.npz").read_bytes()
    assert manifest == finished[1]
    assert not shard_folder.exists()


def test_a_finished_folder_is_left_as_it_is(finished: tuple[Path, dict[str, Any]]) -> None:
    before = (finished[0] / "jets.npz").stat().st_mtime_ns
    assert produce(finished[0]) == (finished[1], 0)
    assert (finished[0] / "jets.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_jets": 9}, "begun with num_jets=6, not 9. "),
        ({"seed": 6, "num_jets": 10}, "begun with num_jets=6, not 10; seed=5, not 6. "),
        ({"jets_per_shard": 2}, "begun with jets_per_shard=1, not 2. "),
    ],
)
@pytest.mark.parametrize("is_finished", [True, False])
def test_other_settings_in_the_same_folder_are_refused(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, is_finished: bool, changes: dict[str, int], message: str
) -> None:
    folder = finished[0] if is_finished else tmp_path
    with open_production(folder, **SETTINGS):
        pass  # as if interrupted at once
    with (
        pytest.raises(SimulationError, match=f"{message}.*another out=, or delete"),
        open_production(folder, **{**SETTINGS, **changes}),
    ):
        pytest.fail("it was taken")


def test_shards_of_another_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_production(tmp_path, **SETTINGS) as production:
        version = production.versions["pythia8mc"]
    path = tmp_path / "shards" / "settings.json"
    path.write_text(path.read_text().replace(version, "8.1"))
    with (
        pytest.raises(SimulationError, match=f"versions.pythia8mc=8.1, not {version}"),
        open_production(tmp_path, **SETTINGS),
    ):
        pytest.fail("it was taken")


def test_a_damaged_data_set_is_not_passed_for_a_whole_one(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    for name in ("jets.npz", "manifest.json"):
        (tmp_path / name).write_bytes((finished[0] / name).read_bytes()[: -10 if name == "jets.npz" else None])
    with (
        pytest.raises(SimulationError, match=r"jets\.npz is missing or not what .* delete"),
        open_production(tmp_path, **SETTINGS),
    ):
        pytest.fail("it was taken")


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        open_production(tmp_path, **SETTINGS),
        pytest.raises(SimulationError, match="in use by another simulation"),
        open_production(tmp_path, **SETTINGS),
    ):
        pytest.fail("it was taken")


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SimulationError, match="cannot be written"), open_production(tmp_path / "file", **SETTINGS):
        pytest.fail("it was taken")


def test_leftovers_of_a_killed_writer_go(tmp_path: Path) -> None:
    with open_production(tmp_path, **SETTINGS):
        (tmp_path / "shards" / ".g-00000.npz.abc.tmp").touch()
    with open_production(tmp_path, **SETTINGS):
        assert [path.name for path in (tmp_path / "shards").iterdir()] == ["settings.json"]


def test_a_worker_that_raises_fails_the_run_with_its_traceback(tmp_path: Path) -> None:
    good, bad = Shard("g", 0, 1), Shard("higgs", 0, 1)
    with pytest.raises(WorkerError, match=r"higgs-00000\.npz failed:\nTraceback(.|\n)*ValueError"):
        run_shards([good, bad], tmp_path, run_seed=0, num_workers=1, on_jets=lambda num: None)
    assert read_shard(tmp_path, good) is not None
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send_shard = workers._send_shard

    def send_and_kill(pipe: Any, worker: Any, shard: Shard) -> None:
        send_shard(pipe, worker, shard)
        worker.process.kill()

    monkeypatch.setattr(workers, "_send_shard", send_and_kill)
    with pytest.raises(WorkerError, match=r"g-00000\.npz was killed by signal 9"):
        run_shards([Shard("g", 0, 1)], tmp_path, run_seed=0, num_workers=1, on_jets=lambda num: None)
    assert list(tmp_path.iterdir()) == []
    assert not multiprocessing.active_children()
