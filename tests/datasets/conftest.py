from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from local_server import Server

from jsc.datasets import CLASS_NAMES, FEATURE_NAMES, download


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, that does not exist yet; and no waiting between tries."""
    monkeypatch.setenv("JSC_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def features() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)


@pytest.fixture
def labels() -> npt.NDArray[np.int8]:
    return np.random.default_rng(1).permutation(np.arange(200) % 5).astype(np.int8)


@pytest.fixture
def cernbox_rows(features, labels) -> npt.NDArray[np.void]:
    """Rows as in the CERNBox file: other columns among ours, in another order, float32 and float64 mixed."""
    one_hot = [f"j_{name}" for name in CLASS_NAMES]
    names = ["j_ptfrac", *reversed(one_hot), "j_pt", *sorted(FEATURE_NAMES), "j_index"]
    rows = np.zeros(len(labels), dtype=[(name, "<f8" if i % 2 else "<f4") for i, name in enumerate(names)])
    for i, name in enumerate(FEATURE_NAMES):
        rows[name] = features[:, i]
    for i, name in enumerate(one_hot):
        rows[name] = labels == i
    rows["j_index"] = np.arange(len(labels))
    return rows


@pytest.fixture
def write_cernbox(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: npt.NDArray[np.void], name: str = "jets.z", array: str = "t_allpar_new") -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            file[array] = rows
        return tmp_path / name

    return write


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()
