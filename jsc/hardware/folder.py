"""A folder that is there whole or not at all, whoever writes it and whenever they are stopped."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from jsc.errors import CommandError


@contextlib.contextmanager
def whole_folder(path: Path, *, mark: str) -> Iterator[Path]:
    """A new folder to write into; it takes the place of `path` when the block ends, unless it raises.

    An older one that holds a file called `mark` is replaced; of several writers the last one's stays. Raises
    CommandError if something else lies there.
    """
    path = path.absolute()
    name = hashlib.sha256(f"{os.getuid()} {path}".encode()).hexdigest()[:32]
    lock = FileLock(
        Path(tempfile.gettempdir()) / f"jsc-{name}.lock"
    )  # held for an instant, and no litter beside `path`
    with lock:
        _check(path, mark)
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    new, old = work / "new", work / "old"
    try:
        new.mkdir()
        yield new
        with lock:
            _check(path, mark)
            if path.exists():
                path.rename(old)
            new.rename(path)
    finally:
        if old.is_dir() and not path.exists():  # stopped between the two
            old.rename(path)
        shutil.rmtree(work, ignore_errors=True)


def _check(path: Path, mark: str) -> None:
    replaceable = path.is_dir() and ((path / mark).is_file() or not any(path.iterdir()))
    if not replaceable and (path.exists() or path.is_symlink()):
        raise CommandError(f"out={path}: something else lies there; name a folder that is not there yet")
