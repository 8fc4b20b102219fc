"""Named columns as a file holds them, and the table of jets made of them.

Shapes: N rows of the file, F features, C classes.
"""

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jsc.datasets.cache import file_sums
from jsc.datasets.jets import CLASS_NAMES, FEATURE_NAMES, JetTable
from jsc.datasets.labels import index_labels, index_one_hot
from jsc.datasets.table_check import check_table
from jsc.errors import DatasetError

ONE_HOT_COLUMNS = {name: f"j_{name}" for name in CLASS_NAMES}
CLASS_COLUMNS = ("class", "label", "labels", "target", "y")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """Columns of N values each, by name, and what the file says of them, where it does.

    `one_hot` maps a class to its column; `feature_names` are the columns that are inputs; numbers in the class column
    index `class_names`.
    """

    values: Mapping[str, npt.NDArray[Any]]
    one_hot: Mapping[str, str] = field(default_factory=dict)
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    variant: str | None = None


def make_table(
    columns: Columns,
    path: Path,
    *,
    variant: str,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    class_column: str | None = None,
    deduplicate: bool = False,
) -> JetTable:
    """Choose the features and the class of the columns of a file, leave out what must not stay, and check the rest.

    With `deduplicate`, of rows equal in every feature and in the class the first stays. Rows whose one-hot class is
    undefined are left out. Raises DatasetError.
    """
    origin = str(path)
    columns, new_names = _in_design_names(columns)
    values = columns.values
    if len({len(column_N) for column_N in values.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column_N)}" for name, column_N in values.items())
        raise DatasetError(f"{origin}: the columns are not equally long: {lengths}")
    one_hot, class_column = _find_class(columns, class_column, origin)
    label_columns = list(one_hot.values()) if class_column is None else [class_column]
    if features is not None:
        features = [new_names.get(name, name) for name in features]
    names = _find_features(columns, features, {*label_columns, *ONE_HOT_COLUMNS.values()}, origin)
    num_rows = len(values[label_columns[0]])
    if not names:
        raise DatasetError(f"{origin}: no feature columns are in it, only the class")
    if num_rows == 0:
        raise DatasetError(f"{origin}: no jets are in it")
    for name in (*names, *one_hot.values()):
        if values[name].dtype.kind not in "biuf":
            raise DatasetError(
                f"{origin}: column {name!r} holds {values[name].dtype}, not numbers; "
                "dataset.features=[...] names the columns to train on"
            )

    is_defined_N = np.ones(num_rows, dtype=np.bool_)
    if class_column is None:
        one_hot_NC = np.stack([values[name].astype(np.float64) for name in one_hot.values()], axis=1)
        labels_N, is_defined_N, class_names = index_one_hot(one_hot_NC, tuple(one_hot))
        label_columns_N = list(one_hot_NC.T)
    else:
        declared, are_jets = classes if classes is not None else columns.class_names, names == FEATURE_NAMES
        labels_N, class_names = index_labels(values[class_column], declared=declared, are_jets=are_jets, origin=origin)
        label_columns_N = [labels_N]

    rows = np.arange(num_rows)
    if deduplicate:
        rows = _first_rows([*(values[name] for name in names), *label_columns_N])
    num_duplicates = num_rows - len(rows)
    num_dropped = int((~is_defined_N[rows]).sum())
    rows = rows[is_defined_N[rows]]
    labels_N = labels_N[rows]
    if class_column is None and classes is not None:  # the user says that only these classes are there
        text_N = np.array(class_names)[labels_N]
        labels_N, class_names = index_labels(text_N, declared=classes, are_jets=False, origin=origin)
    if num_duplicates or num_dropped:
        told = "%s: left out %d duplicate rows and %d rows of undefined class; %d jets stay"
        _log.info(told, origin, num_duplicates, num_dropped, len(rows))

    with np.errstate(over="ignore"):  # what overflows float32 is infinite then, and the check names it
        features_NF = np.stack([values[name][rows].astype(np.float32) for name in names], axis=1)
    sha256 = file_sums(path).sha256
    table = JetTable(features_NF, labels_N, names, class_names, variant, sha256, num_duplicates, num_dropped)
    check_table(table, origin=origin, file_rows_N=rows)
    return table


def require_columns(wanted: Sequence[str], present: Sequence[str], origin: str, *, advice: str) -> None:
    """Raises DatasetError that names each missing column and what is there that looks like it."""
    missing = [name for name in wanted if name not in present]
    if not missing:
        return
    unused = [name for name in present if name not in wanted]
    lines = []
    for name in missing:
        near = difflib.get_close_matches(name, unused, n=1)
        lines.append(f"{name} (renamed to {near[0]}?)" if near else name)
    there = ", ".join(unused[:40]) if unused else "none"
    raise DatasetError(
        f"{origin}: column{'s' if len(missing) > 1 else ''} missing: {', '.join(lines)}. Other columns in it: {there}. "
        f"{advice}"
    )


def _in_design_names(columns: Columns) -> tuple[Columns, dict[str, str]]:
    """OpenML writes zlogz for j_zlogz, and so do files made from it: renamed, if that gives all sixteen; and how."""
    new = {name.removeprefix("j_"): name for name in FEATURE_NAMES if name not in columns.values}
    if not all(name in columns.values for name in new):
        return columns, {}
    values = {new.get(name, name): column_N for name, column_N in columns.values.items()}
    names = columns.feature_names and tuple(new.get(name, name) for name in columns.feature_names)
    return replace(columns, values=values, feature_names=names), new


def _find_class(columns: Columns, class_column: str | None, origin: str) -> tuple[Mapping[str, str], str | None]:
    """(one-hot columns by class, None) or (nothing, the class column)."""
    if class_column is not None:
        advice = "dataset.class_column=NAME names the class column"
        require_columns([class_column], list(columns.values), origin, advice=advice)
        return {}, class_column
    if columns.one_hot:
        return columns.one_hot, None
    found = [name for name in CLASS_COLUMNS if name in columns.values]
    if len(found) > 1:
        raise DatasetError(
            f"{origin}: {' and '.join(found)} could each be the class; dataset.class_column=NAME chooses"
        )
    if found:
        return {}, found[0]
    if any(name in columns.values for name in ONE_HOT_COLUMNS.values()):
        advice = "A one-hot class needs all five; a column of class names does as well"
        require_columns(tuple(ONE_HOT_COLUMNS.values()), list(columns.values), origin, advice=advice)
        return ONE_HOT_COLUMNS, None
    raise DatasetError(
        f"{origin}: no class column; it is called one of {', '.join(CLASS_COLUMNS)}, or is one-hot in "
        f"{', '.join(ONE_HOT_COLUMNS.values())}, or dataset.class_column=NAME names it. Columns in the file: "
        f"{', '.join(list(columns.values)[:40])}"
    )


def _find_features(columns: Columns, features: Sequence[str] | None, labels: set[str], origin: str) -> tuple[str, ...]:
    present = [name for name in columns.values if name not in labels]
    chosen = features if features is not None else columns.feature_names
    if chosen is None and any(name in FEATURE_NAMES for name in present):
        chosen = FEATURE_NAMES  # some but not all is a mistake far more often than a choice
    if chosen is None:
        # What a data frame writes as its row numbers would give the class away in a sorted file.
        return tuple(n for n in present if n and not n.startswith(("Unnamed:", "__index_level_")))
    classes = [name for name in chosen if name in labels and name in columns.values]
    if classes:
        raise DatasetError(
            f"{origin}: {', '.join(classes)} in dataset.features is the class, no feature: leave it out, or name "
            "another class column with dataset.class_column=NAME"
        )
    advice = "dataset=jsc_file dataset.features=[...] names other columns to train on, in order"
    require_columns(chosen, present, origin, advice=advice)
    if len(set(chosen)) < len(chosen):
        raise DatasetError(f"{origin}: a feature is named twice in {', '.join(chosen)}; name each once")
    return FEATURE_NAMES if set(chosen) == set(FEATURE_NAMES) else tuple(chosen)


def _first_rows(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Rows equal to no earlier one, in order: those that pandas' drop_duplicates keeps (0 is -0, NaN is NaN)."""
    values_NC = np.stack([column_N.astype(np.float64) for column_N in columns], axis=1) + 0.0  # -0.0 + 0.0 is 0.0
    values_NC[np.isnan(values_NC)] = np.nan  # one bit pattern for all
    rows_N = values_NC.view(f"V{values_NC.itemsize * values_NC.shape[1]}").ravel()
    return np.sort(np.unique(rows_N, return_index=True)[1])
