"""A folder that is there whole or not at all, whoever writes it and whenever they are stopped."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jsc.errors import CommandError


@contextlib.contextmanager
def whole_folder(path: Path, *, mark: str) -> Iterator[Path]:
    """A new folder to write into; it takes the place of `path` when the block ends, unless it raises.

    An older one that holds a file called `mark` is replaced. Raises CommandError if something else lies there.
    """
    path = path.absolute()
    check_replaceable(path, mark=mark)
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    new, old = work / "new", work / "old"
    try:
        new.mkdir()
        yield new
        while True:
            with contextlib.suppress(FileNotFoundError):
                path.rename(old)
            try:
                new.rename(path)
            except OSError:  # another run put its own there in between
                if not path.is_dir():
                    raise
                shutil.rmtree(old, ignore_errors=True)
            else:
                break
    finally:
        if old.is_dir() and not path.exists():  # stopped between the two
            old.rename(path)
        shutil.rmtree(work, ignore_errors=True)


def check_replaceable(path: Path, *, mark: str) -> None:
    """Raises CommandError if `path` is there, and neither empty nor a folder with a file called `mark`."""
    if path.is_dir() and ((path / mark).is_file() or not any(path.iterdir())):
        return
    if path.exists() or path.is_symlink():
        raise CommandError(f"out={path}: something else lies there; name a folder that is not there yet")
