"""The cache folder: downloads, the sums of files already read, and jets prepared once for every later run.

<cache>/downloads/         files as they came
<cache>/sums/              a file's MD5 and SHA-256 under its path, size and time of change
<cache>/prepared/<key>/    one folder of arrays a (file content, settings, format), memory-mapped by all runs
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from jsc.datasets.jets import FileSource, JetSource
from jsc.datasets.prepared import SPLIT_SEED, TEST_FRACTION, VAL_FRACTION, PreparedJets, prepare
from jsc.errors import DatasetError
from jsc.results import write_atomically

FORMAT = 2  # of what lies in prepared/; raise it whenever that, or how it is made, changes
ENVIRONMENT_VARIABLE = "JSC_DATA_DIR"

_ARRAYS = ("x_NF", "labels_N", "rows_N")
_VECTORS = ("mean_F", "std_F", "min_F", "max_F")
_FINE_TICK_NS, _COARSE_TICK_NS = 50_000_000, 2_000_000_000  # longer than a file system's clock takes for one tick

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileSums:
    """Checksums of a file's content, in hexadecimal."""

    md5: str
    sha256: str


def cache_folder() -> Path:
    """The folder that JSC_DATA_DIR names, or else the user's cache folder. Neither is made here."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("jsc")


@contextlib.contextmanager
def cache_errors() -> Iterator[None]:
    """Turn what goes wrong in the cache folder into a DatasetError: which folder, why, and how to use another."""
    try:
        yield
    except OSError as error:
        what = error if error.errno else f"no room left ({error})"  # NumPy gives no number when a write falls short
        raise DatasetError(
            f"the cache folder {cache_folder()} cannot be used: {what}{_free_space()}. Mend it, or name another "
            f"folder with the environment variable {ENVIRONMENT_VARIABLE}=FOLDER"
        ) from error


def make_once(target: Path, make: Callable[[Path], None]) -> None:
    """Make a file of the cache, unless it is there; one process does while others wait. Raises DatasetError.

    `make` writes what it is given the path of, which becomes `target` when that is whole.
    """
    partial = target.with_name(f"{target.name}.partial")
    with cache_errors():
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{target.name}.lock")):
            if target.exists():  # another process has made it while this one waited
                return
            try:
                make(partial)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)


def load_jets(source: JetSource) -> PreparedJets:
    """Jets ready to train on; prepared once for all processes, then memory-mapped, if the source reads a file.

    The arrays are the process's own: writing to them changes neither the cache nor another run. Raises DatasetError.
    """
    if not isinstance(source, FileSource):
        return prepare(source.read())
    sums = file_sums(source.locate())
    folder = cache_folder() / "prepared" / _key(source, sums)
    jets = _open_prepared(folder)
    if jets is not None:
        return jets
    with cache_errors():
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        lock.acquire()
    try:
        jets = _open_prepared(folder)  # another process may have made it while this one waited
        if jets is None:
            _log.info("preparing %s for the cache, %s", source.locate(), folder)
            table = source.read()
            if table.sha256 != sums.sha256:
                raise DatasetError(f"{source.locate()} changed while it was read; start again when it is complete")
            whole = prepare(table)
            with cache_errors():
                _write_prepared(folder, whole)
            jets = _open_prepared(folder)
            assert jets is not None  # it was just written
    finally:
        lock.release()
    return jets


def file_sums(path: Path) -> FileSums:
    """MD5 and SHA-256 of a file, remembered for as long as its size and time of change stay. Raises DatasetError."""
    try:
        stat = path.stat()
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error
    seen = {"path": str(path.absolute()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}
    note = cache_folder() / "sums" / f"{hashlib.sha256(str(seen['path']).encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none, or a damaged one: hash again
        known = json.loads(note.read_text())
        if known["file"] == seen:
            return FileSums(**known["sums"])
    # A change in the same tick as the last one would not show in the time of change: let that tick pass first.
    age_ns = time.time_ns() - stat.st_mtime_ns
    tick_ns = _FINE_TICK_NS if stat.st_mtime_ns % 1_000_000_000 else _COARSE_TICK_NS
    if 0 <= age_ns < tick_ns:
        time.sleep((tick_ns - age_ns) / 1e9)
    sums = _hash(path)
    if age_ns >= 0:  # what seems to come from the future is not relied on
        with cache_errors():
            write_atomically(note, json.dumps({"file": seen, "sums": dataclasses.asdict(sums)}))
    return sums


def _hash(path: Path) -> FileSums:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                md5.update(block)
                sha256.update(block)
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error
    return FileSums(md5.hexdigest(), sha256.hexdigest())


def _key(source: FileSource, sums: FileSums) -> str:
    decides = {
        "format": FORMAT,
        "source": f"{type(source).__module__}.{type(source).__qualname__}",
        "settings": dict(source.settings()),
        "sha256": sums.sha256,
        "split": [TEST_FRACTION, VAL_FRACTION, SPLIT_SEED],
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]


def _write_prepared(folder: Path, jets: PreparedJets) -> None:
    """Write beside, then rename: a folder of that name is always whole. Only the holder of its lock may call this."""
    partial = folder.with_name(f"{folder.name}.partial")
    for old in (partial, folder):  # what a killed process, or a damaged disk, left
        if old.exists():
            shutil.rmtree(old)
    try:
        partial.mkdir()
        for name in _ARRAYS:
            with (partial / f"{name}.npy").open("wb") as file:
                np.save(file, getattr(jets, name))
                file.flush()
                os.fsync(file.fileno())
        plain = {f.name: getattr(jets, f.name) for f in dataclasses.fields(jets) if f.name not in _ARRAYS}
        plain |= {name: plain[name].tolist() for name in _VECTORS}  # a float64 comes back exact from its repr
        write_atomically(partial / "jets.json", json.dumps(plain))
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _open_prepared(folder: Path) -> PreparedJets | None:
    """None if it is not there. One that is damaged counts as not there, and the log says so."""
    with cache_errors():
        if not folder.exists():
            return None
        try:
            plain = json.loads((folder / "jets.json").read_text())
            # Copy on write: torch.from_numpy warns about arrays that may not be written.
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in _ARRAYS}
            vectors = {name: np.array(plain[name], dtype=np.float64) for name in _VECTORS}
            names = {name: tuple(plain[name]) for name in ("feature_names", "class_names")}
            return PreparedJets(**{**plain, **arrays, **vectors, **names})
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            _log.warning("the cached jets in %s are damaged (%s); they are made anew", folder, error)
            return None


def _free_space() -> str:
    folder = cache_folder()
    for existing in (folder, *folder.parents):
        if existing.exists():
            return f" ({shutil.disk_usage(existing).free / 1e6:,.0f} MB are free there)"
    return ""
