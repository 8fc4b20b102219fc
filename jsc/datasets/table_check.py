"""The check that every table of jets passes before anything is made of it. Shapes: N jets, F features."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jsc.datasets.jets import MAX_CLASSES, JetTable
from jsc.errors import DatasetError

NUM_EXAMPLES = 5  # rows and names that a message shows; the counts say how many there are


def first_of(rows: npt.NDArray[np.int64]) -> str:
    """Where rows of a file are, for a message."""
    return f"counted from 0 the first are {', '.join(map(str, rows[:NUM_EXAMPLES]))}"


def check_table(table: JetTable, *, origin: str, file_rows_N: npt.NDArray[np.int64]) -> None:
    """Refuse a table that cannot be trained on; `file_rows_N` [N] are the rows of the file that its rows were.

    Raises DatasetError for no rows, too many or too few classes, a class without rows, and values that are not finite.
    """
    num_jets, num_features = table.features_NF.shape
    assert table.labels_N.shape == file_rows_N.shape == (num_jets,)
    assert num_features == len(table.feature_names)
    if num_jets == 0:
        raise DatasetError(f"{origin}: no jets are in it")
    check_class_names(table.class_names, origin=origin)
    counts = np.bincount(table.labels_N, minlength=len(table.class_names))
    present = [name for name, count in zip(table.class_names, counts, strict=True) if count]
    if len(present) == 1:
        raise DatasetError(f"{origin}: every jet is of class {present[0]}; at least two classes are needed")
    if len(present) < len(table.class_names):
        absent = [name for name in table.class_names if name not in present]
        raise DatasetError(
            f"{origin}: no jet is of class {', '.join(absent)}; every class needs jets. If only "
            f"{', '.join(present)} are meant to be there, a file of your own says so with "
            f"dataset=jsc_file dataset.classes=[{','.join(present)}]"
        )
    _check_finite(table, origin, file_rows_N)


def check_class_names(class_names: Sequence[str], *, origin: str) -> None:
    """Raises DatasetError if there are more than five classes, or a name comes twice."""
    if len(class_names) > MAX_CLASSES:
        shown = ", ".join(class_names[: MAX_CLASSES + 1])
        raise DatasetError(
            f"{origin}: {len(class_names)} classes ({shown}{', ...' if len(class_names) > MAX_CLASSES + 1 else ''}); "
            f"at most {MAX_CLASSES} are allowed. Is that the class column? dataset.class_column=NAME names another"
        )
    if len(set(class_names)) < len(class_names):
        raise DatasetError(f"{origin}: a class is named twice in {', '.join(class_names)}; name each once")


def _check_finite(table: JetTable, origin: str, file_rows_N: npt.NDArray[np.int64]) -> None:
    # A sum is finite unless a term is not (or it overflows): eight times cheaper than testing every value.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(table.features_NF.sum(dtype=np.float64)):
            return
    bad_NF = ~np.isfinite(table.features_NF)
    if not bad_NF.any():
        return
    bad_F = bad_NF.sum(axis=0)
    columns = [f"{name} ({count})" for name, count in zip(table.feature_names, bad_F, strict=True) if count]
    rows = file_rows_N[bad_NF.any(axis=1)]
    raise DatasetError(
        f"{origin}: {bad_F.sum()} values are not finite (NaN, infinite or beyond float32), in column "
        f"{', '.join(columns)}; {len(rows)} rows have one, "
        f"{first_of(rows)}. Remove these rows or mend them"
    )
