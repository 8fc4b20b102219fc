"""A folder that fills up with jets: its settings, what of it is done, and the finished data set.

shards/settings.json    what is being made; there until the end
shards/<class>-<n>.npz  finished shards
jets.npz                the data set
manifest.json           written last: settings, versions, counts and the SHA-256 of jets.npz
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from jsc.errors import SimulationError
from jsc.results import write_atomically
from jsc.simulation.observables import OBSERVABLE_NAMES
from jsc.simulation.processes import CLASS_NAMES, physics_settings
from jsc.simulation.shards import JETS_PER_SHARD, Shard, merge_shards, plan_shards, read_shard
from jsc.simulation.workers import run_shards

JETS_FILE = "jets.npz"
MANIFEST_FILE = "manifest.json"
SHARD_FOLDER = "shards"
SETTINGS_FILE = "settings.json"
LOCK_FILE = ".lock"

EXTRA_PACKAGES = ("pythia8mc", "fastjet", "awkward", "vector")


@dataclass
class Production:
    """A locked output folder. `missing` are the shards still to be simulated."""

    folder: Path
    settings: dict[str, Any]
    versions: dict[str, str]
    shards: list[Shard]
    missing: list[Shard]

    @property
    def num_jets_done(self) -> int:
        return int(self.settings["num_jets"]) - sum(shard.num_jets for shard in self.missing)

    def run(self, *, num_workers: int, on_jets: Callable[[int], None]) -> dict[str, Any]:
        """Simulate what is missing, merge, and return the manifest. On a finished folder it only returns it.

        Raises WorkerError; finished shards are kept, and a later run goes on from them.
        """
        seed, shard_folder = self.settings["seed"], self.folder / SHARD_FOLDER
        if not (self.folder / MANIFEST_FILE).exists():
            run_shards(self.missing, shard_folder, run_seed=seed, num_workers=num_workers, on_jets=on_jets)
            content = merge_shards(shard_folder, self.shards, run_seed=seed)
            write_atomically(self.folder / JETS_FILE, content)
            write_atomically(self.folder / MANIFEST_FILE, _to_json(self._manifest(content)))
        shutil.rmtree(shard_folder, ignore_errors=True)
        return _read_json(self.folder / MANIFEST_FILE)

    def _manifest(self, content: bytes) -> dict[str, Any]:
        counts = {name: sum(s.num_jets for s in self.shards if s.class_name == name) for name in CLASS_NAMES}
        return {
            "settings": self.settings,
            "versions": self.versions,
            "feature_names": list(OBSERVABLE_NAMES),
            "num_jets_by_class": counts,
            "sha256": hashlib.sha256(content).hexdigest(),
        }


@contextmanager
def open_production(
    folder: Path, *, num_jets: int, seed: int, jets_per_shard: int = JETS_PER_SHARD
) -> Iterator[Production]:
    """Begin in an empty folder, or go on in one that was begun with the same settings.

    Shards that are missing or damaged are to be simulated (again). The folder is locked until the context ends.

    Raises:
        SimulationError: a package of the extra is not installed; the folder was begun with other settings or versions,
            is in use, or cannot be written; or its finished data set is damaged.
    """
    _check_extra()
    settings = {"num_jets": num_jets, "seed": seed, "jets_per_shard": jets_per_shard, "physics": physics_settings()}
    versions = {name: importlib.metadata.version(name) for name in ("pythia8mc", "fastjet", "numpy")}
    shard_folder = folder / SHARD_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK_FILE).touch()
    except OSError as error:
        raise SimulationError(f"{folder} cannot be written ({error.strerror}); give another out=") from error
    try:
        with filelock.FileLock(folder / LOCK_FILE, timeout=0):
            is_finished = _is_finished(folder, settings)
            shards = plan_shards(num_jets, jets_per_shard)
            if not is_finished:
                _claim(shard_folder, settings, versions)
            missing = [] if is_finished else [s for s in shards if read_shard(shard_folder, s) is None]
            yield Production(folder, settings, versions, shards, missing)
    except filelock.Timeout:
        raise SimulationError(f"{folder} is in use by another simulation; wait for it, or give another out=") from None


def _check_extra() -> None:
    absent = [name for name in EXTRA_PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        raise SimulationError(f"not installed: {', '.join(absent)}; install with: pip install 'jsc[simulate]'")


def _is_finished(folder: Path, settings: dict[str, Any]) -> bool:
    manifest_path, jets_path = folder / MANIFEST_FILE, folder / JETS_FILE
    if not manifest_path.exists():
        return False
    manifest = _read_json(manifest_path)
    _check_same(manifest.get("settings"), settings, folder)
    if not jets_path.exists() or hashlib.sha256(jets_path.read_bytes()).hexdigest() != manifest.get("sha256"):
        raise SimulationError(
            f"{jets_path} is missing or not what {MANIFEST_FILE} says it is; "
            f"delete {manifest_path} to simulate it again"
        )
    return True


def _claim(shard_folder: Path, settings: dict[str, Any], versions: dict[str, str]) -> None:
    """Write down what is being made here, or check that it is the same as what was begun."""
    path = shard_folder / SETTINGS_FILE
    wanted = {**settings, "versions": versions}
    if path.exists():
        _check_same(_read_json(path), wanted, shard_folder.parent)
    else:
        write_atomically(path, _to_json(wanted))
    for leftover in shard_folder.glob(".*.tmp"):  # of a writer that was killed
        leftover.unlink(missing_ok=True)


def _check_same(begun: Any, wanted: dict[str, Any], folder: Path) -> None:
    differences = _differences(begun if isinstance(begun, dict) else {}, wanted)
    if differences:
        raise SimulationError(
            f"{folder} was begun with {'; '.join(differences)}. Jets of different settings are not mixed: "
            "go on with the same ones, give another out=, or delete the folder"
        )


def _differences(begun: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in {**begun, **wanted}:
        old, new = begun.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}={old}, not {new}")
    return found


def _to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise SimulationError(f"{path} is damaged ({error}); delete {path.parent} to begin again") from error
    if not isinstance(values, dict):
        raise SimulationError(f"{path} is damaged (it holds no object); delete {path.parent} to begin again")
    return values
