import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from local_server import Server, sends
from made_sources import jet_file

from jsc.datasets import CLASS_NAMES, FEATURE_NAMES, DatasetError, JetFile, JetTable, cache_folder, load_jets, prepare
from jsc.datasets import cache as cache_module
from jsc.datasets.prepared import PreparedJets


@pytest.fixture
def path(tmp_path: Path, features, labels) -> Path:
    names = {"feature_names": np.array(FEATURE_NAMES), "class_names": np.array(CLASS_NAMES)}
    np.savez(tmp_path / "mine.npz", X=features, y=labels, **names)
    return tmp_path / "mine.npz"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[JetFile]:
    """Every source that was read since the test began."""
    read, done = JetFile.read, []
    monkeypatch.setattr(JetFile, "read", lambda self: (done.append(self), read(self))[1])
    return done


def assert_equal(ours: PreparedJets, theirs: PreparedJets) -> None:
    for field in dataclasses.fields(PreparedJets):
        one, other = getattr(ours, field.name), getattr(theirs, field.name)
        assert type(one) is type(other) or isinstance(one, np.memmap)
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def test_what_the_cache_gives_is_what_was_prepared(path: Path, reads) -> None:
    expected = prepare(jet_file(path).read())
    reads.clear()
    for _ in range(3):
        assert_equal(load_jets(jet_file(path)), expected)
    assert len(reads) == 1


def test_the_arrays_are_mapped_and_private(path: Path) -> None:
    jets = load_jets(jet_file(path))
    assert isinstance(jets.x_NF, np.memmap)
    before = float(jets.x_NF[0, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x_NF = torch.from_numpy(jets.x_NF)
    x_NF[0, 0] = 1e6
    assert load_jets(jet_file(path)).x_NF[0, 0] == before


def test_a_file_is_hashed_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_jets(jet_file(path))
    monkeypatch.setattr(cache_module, "_hash", pytest.fail)
    load_jets(jet_file(path))


def test_a_file_from_the_future_is_hashed_each_time(path: Path) -> None:
    before = load_jets(jet_file(path)).sha256
    content = bytearray(path.read_bytes())
    os.utime(path, (4e9, 4e9))
    assert load_jets(jet_file(path)).sha256 == before
    content[10] ^= 1  # of the archive's own time stamps: the arrays stay what they are
    path.write_bytes(content)
    os.utime(path, (4e9, 4e9))
    assert load_jets(jet_file(path)).sha256 != before


def test_a_copy_elsewhere_shares_what_was_prepared(path: Path, tmp_path: Path, reads) -> None:
    load_jets(jet_file(path))
    (tmp_path / "b").mkdir()
    load_jets(jet_file(shutil.copy(path, tmp_path / "b" / path.name)))
    assert len(reads) == 1


def test_new_content_and_other_settings_are_prepared_anew(path: Path, features, labels, reads) -> None:
    load_jets(jet_file(path))
    assert load_jets(jet_file(path, features=["j_mass_mmdt"])).num_features == 1
    assert load_jets(jet_file(path, variant="else")).variant == "else"
    np.savez(path, X=features + 1, y=labels, feature_names=FEATURE_NAMES, class_names=CLASS_NAMES)
    np.testing.assert_allclose(load_jets(jet_file(path)).min_F, (features + 1).min(axis=0))
    assert len(reads) == 4


@pytest.mark.parametrize("damage", ["cut", "gone", "empty", "sums"])
def test_a_damaged_cache_is_made_anew(path: Path, cache: Path, damage: str, reads) -> None:
    expected = load_jets(jet_file(path))
    folder = next(p for p in (cache / "prepared").iterdir() if p.is_dir())
    if damage == "cut":
        content = (folder / "x_NF.npy").read_bytes()
        (folder / "x_NF.npy").unlink()  # the old mapping stays whole
        (folder / "x_NF.npy").write_bytes(content[:5000])
    elif damage == "gone":
        (folder / "rows_N.npy").unlink()
    elif damage == "empty":
        (folder / "jets.json").write_text("")
    else:
        next((cache / "sums").iterdir()).write_text("[]")
    assert_equal(load_jets(jet_file(path)), expected)
    assert len(reads) == (1 if damage == "sums" else 2)


def test_what_a_killed_process_left_is_no_obstacle(path: Path, cache: Path) -> None:
    load_jets(jet_file(path))
    folder = next(p for p in (cache / "prepared").iterdir() if p.is_dir())
    folder.rename(folder.with_name(f"{folder.name}.partial"))
    (folder.with_name(f"{folder.name}.partial") / "x_NF.npy").write_bytes(b"half")
    assert len(load_jets(jet_file(path)).labels_N) == 200
    assert [p for p in (cache / "prepared").iterdir() if p.is_dir()] == [folder]


def test_a_file_that_changes_while_it_is_read_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = JetFile.read
    monkeypatch.setattr(JetFile, "read", lambda self: dataclasses.replace(read(self), sha256="0" * 64))
    with pytest.raises(DatasetError, match=r"mine\.npz changed while it was read"):
        load_jets(jet_file(path))


def test_ten_first_uses_at_once_prepare_once(server: Server, write_cernbox, cernbox_rows, cache: Path) -> None:
    server.answers = [sends(write_cernbox(cernbox_rows).read_bytes())]
    code = (
        "import logging, sys, jsc.datasets as d\n"
        "logging.basicConfig(level=logging.INFO)\n"
        f"source = d.CernboxJets(path=None, md5=None, url={server.url!r}, timeout_seconds=30, num_tries=1)\n"
        "sys.stdin.readline()\n"
        "jets = d.load_jets(source)\n"
        "print(len(jets.labels_N), float(jets.x_NF.astype('f8').sum()))\n"
    )
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-c", code]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        jobs = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(10)]
        for job in jobs:
            job.stdin.write("go\n")
            job.stdin.flush()
        outputs = [job.communicate(timeout=60) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 10, outputs
    assert len({out for out, _ in outputs}) == 1
    assert outputs[0][0].startswith("200 ")
    assert sum("INFO:jsc.datasets.cache:preparing" in err for _, err in outputs) == 1
    assert server.paths == ["/download"]
    assert len([p for p in (cache / "prepared").iterdir() if p.is_dir()]) == 1


def test_a_cache_folder_that_is_a_file_is_named(path: Path, cache: Path) -> None:
    cache.write_text("in the way")
    with pytest.raises(DatasetError, match=r"the cache folder .*cache cannot be used: .*JSC_DATA_DIR=FOLDER"):
        load_jets(jet_file(path))
    assert cache.read_text() == "in the way"


def test_a_cache_that_cannot_be_read_is_named(path: Path, cache: Path) -> None:
    load_jets(jet_file(path))
    folder = next(p for p in (cache / "prepared").iterdir() if p.is_dir())
    (folder / "jets.json").unlink()
    (folder / "jets.json").mkdir()  # root may read every file, but no folder as a file
    with pytest.raises(DatasetError, match=r"cannot be used: .*Is a directory.*JSC_DATA_DIR=FOLDER"):
        load_jets(jet_file(path))


def test_a_full_disk_is_named_and_leaves_nothing(path: Path, cache: Path) -> None:
    code = (
        "import resource, jsc.datasets as d\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))\n"
        f"source = d.JetFile(path={str(path)!r}, md5=None, features=None, classes=None, class_column=None,"
        " deduplicate=False, variant=None)\n"
        "try: d.load_jets(source)\n"
        "except d.DatasetError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert f"the cache folder {cache} cannot be used: no room left (" in done.stdout
    assert "MB are free there" in done.stdout
    assert "JSC_DATA_DIR=FOLDER" in done.stdout
    assert [p for p in (cache / "prepared").iterdir() if p.suffix != ".lock"] == []
    assert path.exists()


def test_a_source_without_a_file_is_prepared_each_time(features, labels, cache: Path) -> None:
    class Made:
        def read(self) -> JetTable:
            return JetTable(features, labels, FEATURE_NAMES, CLASS_NAMES, "made", "0" * 64)

    assert_equal(load_jets(Made()), prepare(Made().read()))
    assert not cache.exists()


def test_the_users_cache_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSC_DATA_DIR", "~/jets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "jets"
    monkeypatch.delenv("JSC_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "jsc"
