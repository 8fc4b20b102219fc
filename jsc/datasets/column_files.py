"""The file formats that jets of one's own come in, each read into named columns.

Shapes: N rows, F features, C classes.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jsc.datasets.columns import Columns
from jsc.datasets.jets import CLASS_NAMES
from jsc.errors import DatasetError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def read_columns(path: Path) -> Columns:
    """Read a .npz, .csv, .parquet, .h5 or .hdf5 file. Raises DatasetError."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DatasetError(
            f"{path}: files of jets end in {', '.join(READERS)}"
            + ("; dataset=jsc dataset.path=... reads the CERNBox file" if path.suffix == ".z" else "")
        )
    if path.stat().st_size == 0:
        raise DatasetError(f"{path}: the file is empty")
    return reader(path)


def read_npz(path: Path) -> Columns:
    """Either `X` [N, F], `y` [N] or one-hot [N, C], `feature_names` and optionally `class_names` and `variant`; or one
    1-D array a column; or one structured array."""
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path}: not an .npz file (as np.savez writes it), or one cut short")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        what = f"the .npz file is damaged: {error}"
        if "allow_pickle" in str(error):
            what = (
                "it holds Python objects, which are not read because they can run code; save texts with .astype(str) "
                "and numbers with .astype(float)"
            )
        raise DatasetError(f"{path}: {what}") from error
    return _from_arrays(arrays, path)


def read_csv(path: Path) -> Columns:
    """Comma-separated, the column names in the first line."""
    import pyarrow  # here: a quarter of a second that only these two formats need
    import pyarrow.csv

    with path.open(errors="replace") as file:
        first_line = file.readline()
    other = next((name for sign, name in ((";", "semicolons"), ("\t", "tabs")) if sign in first_line), None)
    if other is not None and "," not in first_line:
        raise DatasetError(
            f"{path}: its columns are separated by {other}; write the file with commas between them, and a point in "
            "decimal numbers"
        )
    try:
        return _from_arrow(pyarrow.csv.read_csv(path), path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path}: not a readable .csv file with column names in its first line: {error}") from error


def read_parquet(path: Path) -> Columns:
    """One column a feature, as data frames write it."""
    import pyarrow
    import pyarrow.parquet

    try:
        return _from_arrow(pyarrow.parquet.read_table(path), path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path}: not a readable .parquet file, or cut short: {error}") from error


def read_hdf5(path: Path) -> Columns:
    """What read_npz takes, as HDF5 datasets: at the top, or in the file's only group."""
    import h5py

    with open_hdf5(path) as file:
        group = file
        if len(file) == 1 and isinstance(next(iter(file.values())), h5py.Group):
            group = next(iter(file.values()))
        arrays = {}
        for name, item in group.items():
            if isinstance(item, h5py.Dataset) and item.ndim <= 2:
                arrays[name] = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
    return _from_arrays({name: np.asarray(array) for name, array in arrays.items()}, path)


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file to read. Raises DatasetError, that says what came instead, now or while it is being read."""
    import h5py

    with path.open("rb") as file:
        start = file.read(512)
    if not start.startswith(HDF5_SIGNATURE):
        what = "a web page" if start.lstrip().startswith(b"<") else "something else"
        raise DatasetError(f"{path}: not an HDF5 file but {what}; it begins with {start[:40]!r}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise DatasetError(f"{path}: the HDF5 file is cut short or damaged: {error}") from error


def _from_arrow(table: Any, path: Path) -> Columns:
    import pyarrow

    names = table.column_names
    if len(set(names)) < len(names):
        raise DatasetError(f"{path}: two columns have the same name in {', '.join(names)}")
    values = {}
    for name, column in zip(names, table.columns, strict=True):
        plain = column.cast(column.type.value_type) if pyarrow.types.is_dictionary(column.type) else column
        values[name] = plain.to_numpy()
    return Columns(values)


def _from_arrays(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> Columns:
    said = {name: _texts(arrays[name]) for name in ("feature_names", "class_names", "variant") if name in arrays}
    feature_names, class_names = said.get("feature_names"), said.get("class_names")
    variant = said["variant"][0] if "variant" in said else None
    rest = {name: array for name, array in arrays.items() if name not in said}
    structured = [name for name, array in rest.items() if array.dtype.names and array.ndim == 1]
    if len(structured) > 1:
        raise DatasetError(f"{path}: it holds several structured arrays, {', '.join(structured)}; keep one")
    one_hot: dict[str, str] = {}
    if structured:
        rest = {name: rest[structured[0]][name] for name in rest[structured[0]].dtype.names or ()}
        feature_names = None
    values = {name: array for name, array in rest.items() if array.ndim == 1}
    if "X" in rest and not structured:
        x_NF = rest["X"]
        if x_NF.ndim != 2 or "y" not in rest or feature_names is None or len(feature_names) != x_NF.shape[1]:
            raise DatasetError(
                f"{path}: with X go y and feature_names: X [jets, features], y [jets] (names or numbers) or "
                f"[jets, classes] (one-hot), feature_names [features]; in it are {_listing(arrays)}"
            )
        values = dict(zip(feature_names, x_NF.T, strict=True))
        if rest["y"].ndim == 1:
            values["y"] = rest["y"]
        else:
            num_classes = rest["y"].shape[1]
            if class_names is None and num_classes == len(CLASS_NAMES):
                class_names = CLASS_NAMES
            if class_names is None or len(class_names) != num_classes:
                raise DatasetError(f"{path}: class_names must name the {num_classes} columns of the one-hot y")
            one_hot = {name: f"y[{name}]" for name in class_names}
            values |= dict(zip(one_hot.values(), rest["y"].T, strict=True))
    if not values:
        raise DatasetError(f"{path}: no columns; in it are {_listing(rest) or 'no arrays'}")
    return Columns(values, one_hot, feature_names, class_names, variant)


def _texts(array: npt.NDArray[Any]) -> tuple[str, ...]:
    return tuple(
        item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in array.ravel().tolist()
    )


def _listing(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in arrays.items())


READERS = {".npz": read_npz, ".csv": read_csv, ".parquet": read_parquet, ".h5": read_hdf5, ".hdf5": read_hdf5}
