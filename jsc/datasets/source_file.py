"""The file of a data set that the user names, and its sum."""

from pathlib import Path

from jsc.datasets.cache import file_sums
from jsc.errors import DatasetError


def named_file(path: str, *, advice: str = "") -> Path:
    """The file that `dataset.path` names. Raises DatasetError, which ends with `advice`."""
    file = Path(path).expanduser()
    if not file.is_file():
        what = "a folder, not a file" if file.is_dir() else "no such file"
        raise DatasetError(f"dataset.path={path}: {what}{advice}")
    return file


def check_md5(path: Path, md5: str | None, *, advice: str = "") -> None:
    """Raises DatasetError, which ends with `advice`, if the file's MD5 sum is another one; None is not checked."""
    if md5 is not None and (found := file_sums(path).md5) != str(md5).lower():
        raise DatasetError(
            f"{path}: its MD5 sum is {found}, not {md5}. To accept this file say dataset.md5={found} (null: accept any)"
            f"{advice}"
        )
