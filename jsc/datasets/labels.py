"""A class column, made int8 indices: classes are mapped by name, never by the order in which they come.

Shapes: N jets, C classes.
"""

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jsc.datasets.jets import CLASS_NAMES
from jsc.datasets.table_check import NUM_EXAMPLES, check_class_names, first_of
from jsc.errors import DatasetError


def index_labels(
    label_N: npt.NDArray[Any], *, declared: Sequence[str] | None, are_jets: bool, origin: str
) -> tuple[npt.NDArray[np.int8], tuple[str, ...]]:
    """(int8 indices [N], class names) of a column of names or of whole numbers.

    Numbers index `declared`; undeclared, they index the design's classes if `are_jets`, else they are 0 to C-1. Names
    must be of `declared`; undeclared, they are the design's classes if all are among them, else all that occur, sorted.
    Raises DatasetError.
    """
    if label_N.dtype.kind in "SUO":
        return _index_names(_as_text(label_N, origin), declared, origin)
    if label_N.dtype.kind in "biuf":
        return _index_numbers(label_N, declared, are_jets, origin)
    raise DatasetError(f"{origin}: a class column of {label_N.dtype} is neither names nor whole numbers")


def index_one_hot(
    one_hot_NC: npt.NDArray[np.float64], class_names: Sequence[str]
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_], tuple[str, ...]]:
    """(int8 indices [N], whether a row is one-hot [N], class names); an index means nothing where the row is not."""
    is_one_hot_N = np.isin(one_hot_NC, (0.0, 1.0)).all(axis=1) & (one_hot_NC.sum(axis=1) == 1)
    labels_N, names = _in_design_order(one_hot_NC.argmax(axis=1), tuple(class_names))
    return labels_N, is_one_hot_N, names


def _index_names(
    text_N: npt.NDArray[np.str_], declared: Sequence[str] | None, origin: str
) -> tuple[npt.NDArray[np.int8], tuple[str, ...]]:
    found, index_N = np.unique(text_N, return_inverse=True)
    names = [name.strip().removeprefix("j_") if name.strip()[2:] in CLASS_NAMES else name.strip() for name in found]
    if declared is None:
        declared = CLASS_NAMES if set(names) <= set(CLASS_NAMES) else sorted(set(names))
    check_class_names(declared, origin=origin)
    for position, name in enumerate(names):
        if name not in declared:
            rows = np.flatnonzero(index_N == position)
            near = difflib.get_close_matches(name, declared, n=1)
            advice = f" (did you mean {near[0]}?)" if near else ""
            raise DatasetError(
                f"{origin}: class {name!r} is none of {', '.join(declared)}{advice}; {len(rows)} rows have it, "
                f"{first_of(rows)}"
            )
    index_of_name = np.array([declared.index(name) for name in names], dtype=np.int64)
    return _in_design_order(index_of_name[index_N], tuple(declared))


def _index_numbers(
    number_N: npt.NDArray[Any], declared: Sequence[str] | None, are_jets: bool, origin: str
) -> tuple[npt.NDArray[np.int8], tuple[str, ...]]:
    whole_N = np.isfinite(number_N) & (number_N == np.floor(number_N)) & (number_N >= 0)
    if not whole_N.all():
        rows = np.flatnonzero(~whole_N)
        raise DatasetError(
            f"{origin}: {len(rows)} rows have a class that is missing or not a whole number from 0 up; counted from 0 "
            f"the first are {', '.join(f'{row} ({number_N[row]})' for row in rows[:NUM_EXAMPLES])}"
        )
    if declared is None:
        num_classes = int(number_N.max(initial=0)) + 1
        if num_classes > 1000:  # not classes at all: do not spell them out
            raise DatasetError(f"{origin}: class numbers go up to {num_classes - 1}; classes are numbered from 0")
        declared = CLASS_NAMES if are_jets else [str(i) for i in range(num_classes)]
    else:
        check_class_names(declared, origin=origin)
    found = [int(number) for number in np.unique(number_N)]
    check_class_names([str(number) for number in found], origin=origin)
    _check_numbering(found, declared, origin)
    return _in_design_order(number_N.astype(np.int64), tuple(declared))


def _check_numbering(found: Sequence[int], declared: Sequence[str], origin: str) -> None:
    """Refuse numbers that no name can be given to, or that skip some: these are not mended by dataset.classes= alone.

    A single class, and names at the end without jets, are left to the table's check.
    """
    beyond = [str(number) for number in found if number >= len(declared)]
    has_gaps = len(found) > 1 and found != list(range(len(found)))
    renumber = f"Number the {len(found)} classes of the file 0 to {len(found) - 1} in it"
    if beyond:
        name = f"Name all {len(found)}, in the order of their numbers, with dataset=jsc_file dataset.classes=[...]"
        raise DatasetError(
            f"{origin}: class {', '.join(beyond)} is beyond the {len(declared)} classes {', '.join(declared)}, "
            f"numbered from 0. {renumber if has_gaps else name}"
        )
    if has_gaps:
        absent = [name for number, name in enumerate(declared) if number not in found]
        present = [declared[number] for number in found]
        raise DatasetError(
            f"{origin}: no jet is of class {', '.join(absent[:NUM_EXAMPLES])}; classes are numbered from 0, and every "
            f"class needs jets. {renumber}, and if they are {', '.join(present)}, say so with "
            f"dataset=jsc_file dataset.classes=[{','.join(present)}]"
        )


def _in_design_order(
    index_N: npt.NDArray[np.int64], names: tuple[str, ...]
) -> tuple[npt.NDArray[np.int8], tuple[str, ...]]:
    if not set(names) <= set(CLASS_NAMES):
        return index_N.astype(np.int8), names
    ordered = tuple(name for name in CLASS_NAMES if name in names)
    return np.array([ordered.index(name) for name in names], dtype=np.int8)[index_N], ordered


def _as_text(label_N: npt.NDArray[Any], origin: str) -> npt.NDArray[np.str_]:
    if label_N.dtype.kind == "S":
        label_N = np.char.decode(label_N, "utf-8", "replace")
    if label_N.dtype.kind == "O":
        empty = ["" if value is None or value != value else value for value in label_N]  # NaN is not itself
        texts = [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in empty]
        label_N = np.array(texts, dtype=np.str_)
    missing = np.flatnonzero(np.char.strip(label_N) == "")  # in a .csv file an empty text is all there is of a hole
    if len(missing):
        raise DatasetError(f"{origin}: {len(missing)} rows have no class; {first_of(missing)}")
    return label_N
