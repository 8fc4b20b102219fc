import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from made_sources import cernbox, jet_file

from jsc.datasets import CLASS_NAMES, FEATURE_NAMES, DatasetError

NAMES = np.array(CLASS_NAMES)
Arrays = Mapping[str, npt.NDArray[Any]]


def write_npz(path: Path, columns: Arrays) -> Path:
    np.savez(path.with_suffix(".npz"), **columns)
    return path.with_suffix(".npz")


def write_csv(path: Path, columns: Arrays) -> Path:
    pa.csv.write_csv(pa.table({name: pa.array(c) for name, c in columns.items()}), path.with_suffix(".csv"))
    return path.with_suffix(".csv")


def write_parquet(path: Path, columns: Arrays) -> Path:
    table = pa.table({name: pa.array(c) for name, c in columns.items()})
    pa.parquet.write_table(table, path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def write_hdf5(path: Path, columns: Arrays) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, column in columns.items():
            file[name] = column.astype("S") if column.dtype.kind == "U" else column
    return path.with_suffix(".h5")


def write_hdf5_group(path: Path, columns: Arrays) -> Path:
    with h5py.File(path.with_suffix(".hdf5"), "w") as file:
        group = file.create_group("jets")
        for name, column in columns.items():
            text = column.dtype.kind == "U"
            group.create_dataset(
                name, data=column.astype(object) if text else column, dtype=h5py.string_dtype() if text else None
            )
    return path.with_suffix(".hdf5")


def write_structured(path: Path, columns: Arrays) -> Path:
    rows = np.zeros(len(next(iter(columns.values()))), dtype=[(n, c.dtype) for n, c in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    np.savez(path.with_suffix(".npz"), rows=rows)
    return path.with_suffix(".npz")


WRITERS = (write_npz, write_csv, write_parquet, write_hdf5, write_hdf5_group, write_structured)


def shuffled(features: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
    """Our sixteen columns in alphabetical order, with two that are no inputs among them."""
    values = {name: features[:, i] for i, name in enumerate(FEATURE_NAMES)}
    return {"index": np.arange(len(features)), **{name: values[name] for name in sorted(values)}, "pt": features[:, 0]}


def one_hot(labels: npt.NDArray[np.int8]) -> dict[str, npt.NDArray[Any]]:
    return {f"j_{name}": (labels == i).astype(np.float32) for i, name in enumerate(CLASS_NAMES)}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("class_as", ["names", "numbers", "one-hot"])
def test_every_format_gives_the_same_table(
    tmp_path: Path, features, labels, write: Callable[[Path, Arrays], Path], class_as: str
) -> None:
    classes = {"names": {"class": NAMES[labels]}, "numbers": {"label": labels}, "one-hot": one_hot(labels)}
    path = write(tmp_path / "mine", {**classes[class_as], **shuffled(features)})
    table = jet_file(path).read()
    np.testing.assert_array_equal(table.features_NF, features)
    np.testing.assert_array_equal(table.labels_N, labels)
    assert table.features_NF.dtype == np.float32
    assert table.labels_N.dtype == np.int8
    assert (table.feature_names, table.class_names, table.variant) == (FEATURE_NAMES, CLASS_NAMES, "file:mine")
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("write", [write_npz, write_hdf5])
@pytest.mark.parametrize("y_as", ["names", "numbers", "one-hot"])
def test_a_matrix_with_names_is_read(tmp_path: Path, features, labels, write, y_as: str) -> None:
    order = np.array(["t", "g", "z", "q", "w"])  # not the design's: classes are mapped by name
    index = np.array([list(order).index(name) for name in NAMES[labels]])
    y = {"names": NAMES[labels], "numbers": index, "one-hot": np.eye(5)[index]}[y_as]
    arrays = {"X": features[:, ::-1], "y": y, "feature_names": np.array(FEATURE_NAMES[::-1]), "pt": features[:, 0]}
    said = {"class_names": order, "variant": np.array(["mine too"])}
    table = jet_file(write(tmp_path / "a", {**arrays, **said})).read()
    np.testing.assert_array_equal(table.features_NF, features)
    np.testing.assert_array_equal(table.labels_N, labels)
    assert (table.class_names, table.variant) == (CLASS_NAMES, "mine too")
    assert jet_file(tmp_path / ("a.npz" if write is write_npz else "a.h5"), variant="x").read().variant == "x"


def test_features_of_ones_own_keep_the_files_order(tmp_path: Path, features, labels) -> None:
    columns = {"tau": features[:, 3], "mass": features[:, 1], "target": np.array(["signal", "background"])[labels % 2]}
    path = write_csv(tmp_path / "a", columns)
    table = jet_file(path).read()
    np.testing.assert_array_equal(table.features_NF, features[:, [3, 1]])
    assert (table.feature_names, table.class_names) == (("tau", "mass"), ("background", "signal"))
    np.testing.assert_array_equal(table.labels_N, 1 - labels % 2)
    chosen = jet_file(path, features=["mass"], classes=["signal", "background"]).read()
    np.testing.assert_array_equal(chosen.features_NF, features[:, [1]])
    np.testing.assert_array_equal(chosen.labels_N, labels % 2)
    assert chosen.class_names == ("signal", "background")


@pytest.mark.parametrize("chosen", [None, ["mass_mmdt", "j_zlogz"]])
def test_names_without_their_prefix_are_the_designs(tmp_path: Path, features, labels, chosen) -> None:
    columns = {name.removeprefix("j_"): column for name, column in with_class(features, NAMES[labels]).items()}
    table = jet_file(write_csv(tmp_path / "a", columns), features=chosen).read()
    names = FEATURE_NAMES if chosen is None else ("j_mass_mmdt", "j_zlogz")
    assert table.feature_names == names
    np.testing.assert_array_equal(table.features_NF, features[:, [FEATURE_NAMES.index(name) for name in names]])


def test_one_such_name_among_ones_own_stays(tmp_path: Path, features, labels) -> None:
    columns = {"multiplicity": features[:, 0], "pull": features[:, 1], "class": NAMES[labels]}
    assert jet_file(write_csv(tmp_path / "a", columns)).read().feature_names == ("multiplicity", "pull")


def test_some_of_the_classes_are_enough_where_the_user_says_so(tmp_path: Path, features, labels) -> None:
    keep = labels >= 3
    path = write_csv(tmp_path / "a", {**shuffled(features[keep]), **one_hot(labels[keep])})
    with pytest.raises(DatasetError, match=r"no jet is of class g, q, w; .*dataset\.classes=\[z,t\]"):
        jet_file(path).read()
    table = jet_file(path, classes=["t", "z"]).read()
    assert table.class_names == ("z", "t")
    np.testing.assert_array_equal(table.labels_N, labels[keep] - 3)


def test_row_numbers_that_a_data_frame_wrote_are_no_feature(tmp_path: Path, features, labels) -> None:
    columns = {"": np.arange(200), "mass": features[:, 0], "__index_level_0__": np.arange(200), "class": labels % 2}
    assert jet_file(write_parquet(tmp_path / "a", columns)).read().feature_names == ("mass",)


def test_categories_are_read(tmp_path: Path, features, labels) -> None:
    category = pa.array(NAMES[labels]).dictionary_encode()
    pa.parquet.write_table(pa.table({"mass": features[:, 0], "class": category}), tmp_path / "a.parquet")
    np.testing.assert_array_equal(jet_file(tmp_path / "a.parquet").read().labels_N, labels)


def test_duplicates_go_where_the_user_says_so(tmp_path: Path, features, labels) -> None:
    columns = {"mass": np.append(features[:, 0], features[:7, 0]), "class": NAMES[np.append(labels, labels[:7])]}
    path = write_csv(tmp_path / "a", columns)
    assert (jet_file(path).read().num_duplicates, len(jet_file(path).read().labels_N)) == (0, 207)
    table = jet_file(path, deduplicate=True).read()
    assert table.num_duplicates == 7
    np.testing.assert_array_equal(table.features_NF[:, 0], features[:, 0])


def with_class(features: npt.NDArray[np.float32], column: npt.NDArray[Any]) -> Arrays:
    return {**shuffled(features), "class": column}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (lambda i: np.array([*CLASS_NAMES, "b"])[np.arange(len(i)) % 6], "6 classes .*at most 5 are allowed"),
        (lambda i: np.where(i == 3, "w", NAMES[i]), "no jet is of class z; every class needs jets"),
        (lambda i: np.where(i == 3, 2, i), "no jet is of class z"),
        (lambda i: np.full(len(i), "g"), "every jet is of class g; at least two"),
        (lambda i: np.where(np.arange(len(i)) == 9, "gluon", NAMES[i]), "6 classes"),
        (lambda i: i + 1, "class 5 is beyond the 5 .* g, q, w, z, t, numbered from 0. Number the 5 .* 0 to 4 in it$"),
        (lambda i: np.full(len(i), 2), "every jet is of class w; at least two"),
        (lambda i: np.arange(len(i)) % 6, "6 classes .*at most 5 are allowed"),
        (lambda i: i.astype(float) - 0.5, r"200 rows have a class that is missing or not a whole number .*\d \("),
        (lambda i: np.where(np.arange(len(i)) == 9, np.nan, i), r"1 rows have a class that is missing .* 9 \(nan\)"),
        (lambda i: np.arange(len(i)) * 100, "class numbers go up to 19900"),
    ],
)
def test_bad_classes_are_named(tmp_path: Path, features, labels, column, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        jet_file(write_parquet(tmp_path / "a", with_class(features, column(labels.astype(np.int64))))).read()


@pytest.mark.parametrize(
    ("numbers", "classes"),
    [
        ([1, 2, 3], None),
        ([1, 2, 3, 4, 5], None),
        ([1, 2, 3], ["a", "b", "c", "d"]),
        ([1, 2, 3], ["1", "2", "3"]),
        ([0, 1, 2, 3], ["a", "b", "c"]),
        ([0, 1], ["a", "b", "c"]),
        ([0, 1, 40], None),
        ([0, 1, 2, 4], list(CLASS_NAMES)),
    ],
)
def test_the_advice_on_class_numbers_leads_to_a_table(
    tmp_path: Path, features, numbers: list[int], classes: list[str] | None
) -> None:
    rows = np.arange(len(features)) % len(numbers)
    path = write_csv(tmp_path / "a", {"mass": features[:, 0], "class": np.array(numbers)[rows]})
    with pytest.raises(DatasetError, match=r"every class needs jets|numbered from 0\.") as raised:
        jet_file(path, classes=classes).read()
    advice = str(raised.value)
    if f"Number the {len(numbers)} classes of the file 0 to {len(numbers) - 1} in it" in advice:
        path = write_csv(tmp_path / "a", {"mass": features[:, 0], "class": rows})
    elif f"Name all {len(numbers)}" in advice:
        classes = [f"class {number}" for number in numbers]
    if named := re.search(r"dataset\.classes=\[(\w.*)\]", advice):
        classes = named[1].split(",")
    table = jet_file(path, classes=classes).read()
    assert len(table.class_names) == len(numbers)
    np.testing.assert_array_equal(table.labels_N, rows)


@pytest.mark.parametrize(
    ("write", "hole"),
    [*((write, hole) for write in WRITERS for hole in ("", " ")), (write_csv, None), (write_parquet, None)],
)
def test_a_hole_in_the_class_names_is_placed(tmp_path: Path, features, labels, write, hole: str | None) -> None:
    column = np.array([hole if row in (4, 8) else name for row, name in enumerate(NAMES[labels])])
    path = write(tmp_path / "a", {"mass": features[:, 0], "class": column})
    with pytest.raises(DatasetError, match="2 rows have no class; counted from 0 the first are 4, 8"):
        jet_file(path, deduplicate=True).read()


def test_a_misspelt_class_gets_the_nearest(tmp_path: Path, features, labels) -> None:
    names = np.array(["signal", "background"])[labels % 2].astype("<U12")
    names[17] = "signl"
    path = write_csv(tmp_path / "a", {"mass": features[:, 0], "class": names})
    with pytest.raises(
        DatasetError, match=r"class 'signl' is none of signal, background \(did you mean signal\?\); 1 "
    ):
        jet_file(path, classes=["signal", "background"]).read()


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            {"j_mass_mmdt": "j_mass_mdt"},
            {},
            r"column missing: j_mass_mmdt \(renamed to j_mass_mdt\?\).*dataset.features=",
        ),
        ({"class": "kind"}, {}, "no class column; it is called one of class, label.*Columns in the file: index"),
        ({"class": "kind"}, {"class_column": "knd"}, r"column missing: knd \(renamed to kind\?\)"),
        ({"pt": "label"}, {}, "class and label could each be the class; dataset.class_column=NAME"),
        ({}, {"features": ["j_mass_mmdt", "mas"]}, "column missing: mas"),
        ({}, {"features": ["pt", "class"]}, "class in dataset.features is the class, no feature: leave it out, or"),
        ({}, {"features": ["pt", "pt"]}, "a feature is named twice"),
        ({}, {"features": ["word", "pt"]}, "column 'word' holds .*not numbers"),
        ({}, {"classes": ["g", "q", "g"]}, "a class is named twice"),
        ({}, {"md5": "0" * 32}, "its MD5 sum is [0-9a-f]{32}, not 0{32}. To accept this file say dataset.md5="),
    ],
)
def test_bad_columns_are_named(
    tmp_path: Path, features, labels, change: dict[str, str], settings: dict[str, object], message: str
) -> None:
    columns = {**with_class(features, NAMES[labels]), "word": NAMES[labels]}
    columns = {change.get(name, name): column for name, column in columns.items()}
    with pytest.raises(DatasetError, match=message):
        jet_file(write_csv(tmp_path / "a", columns), **settings).read()


@pytest.mark.parametrize("write", [write_npz, write_csv, write_parquet, write_hdf5])
def test_values_that_are_not_finite_are_counted_and_placed(tmp_path: Path, features, labels, write) -> None:
    columns = {**shuffled(features.astype(np.float64)), "class": NAMES[labels]}
    columns["j_c1_b0_mmdt"] = columns["j_c1_b0_mmdt"].copy()
    columns["j_c1_b0_mmdt"][[3, 60]] = (np.nan, 1e300)  # the second is finite, but not in float32
    columns["j_mass_mmdt"][60] = -np.inf
    message = r"3 values are not finite .* j_c1_b0_mmdt \(2\), j_mass_mmdt \(1\); 2 rows .* are 3, 60\. Remove"
    with pytest.raises(DatasetError, match=message):
        jet_file(write(tmp_path / "a", columns)).read()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"PK\x03\x04 cut short", r"not an \.npz file .* or one cut short"),
        ("a.npz", b"<html>", r"not an \.npz file"),
        ("a.csv", b"a,b\n1,2,3\n", "not a readable .csv file"),
        ("a.csv", b"a;class\n1,5;g\n", r"columns are separated by semicolons; write the file with commas"),
        ("a.csv", b"a\tclass\n1\tg\n", r"columns are separated by tabs; write"),
        ("a.csv", b"a,a,class\n1,2,g\n", "two columns have the same name"),
        ("a.csv", b"mass,class\n", "no jets are in it"),
        ("a.csv", b"class\ng\nq\n", "no feature columns"),
        ("a.parquet", b"PAR1 cut short", "not a readable .parquet file"),
        ("a.h5", b"<!DOCTYPE html>", "not an HDF5 file but a web page"),
        ("a.h5", b"\x89HDF\r\n\x1a\n cut short", "cut short or damaged"),
        ("a.npz", b"", "the file is empty"),
        ("a.root", b"root", r"files of jets end in \.npz, \.csv, \.parquet, \.h5, \.hdf5"),
        ("a.z", b"", "dataset=jsc dataset.path=... reads the CERNBox file"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message) as raised:
        jet_file(tmp_path / name).read()
    assert name in str(raised.value)


def test_a_flipped_byte_in_an_archive_is_named(tmp_path: Path, features, labels) -> None:
    path = write_npz(tmp_path / "a", with_class(features, NAMES[labels]))
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.npz: the \.npz file is damaged: .*CRC"):
        jet_file(path).read()


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_cut_short_is_named(tmp_path: Path, features, labels, write) -> None:
    path = write(tmp_path / "a", {"mass": features[:, 0], "class": NAMES[labels]})
    whole = path.read_bytes()
    for length in (9, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        if path.suffix == ".csv" and length == len(whole) - 3:
            continue  # a line less is no fault that a file of lines could show
        with pytest.raises(DatasetError, match=rf"a{path.suffix}: "):
            jet_file(path, classes=CLASS_NAMES).read()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"X": np.zeros((4, 2)), "y": np.arange(4)},
            r"with X go y and feature_names.*X float64 \[4, 2\], y int64 \[4\]",
        ),
        ({"X": np.zeros((4, 2)), "y": np.arange(4), "feature_names": np.array(["a"])}, "with X go y"),
        ({"a": np.zeros(4), "class": np.arange(3)}, "not equally long: a 4, class 3"),
        ({"a": np.array(["x", None], dtype=object), "class": np.arange(2)}, "Python objects"),
        ({"a": np.zeros((2, 2))}, r"no columns; in it are a float64 \[2, 2\]"),
        ({"X": np.zeros((4, 1)), "y": np.eye(4), "feature_names": np.array(["a"])}, "class_names must name the 4"),
        ({"r": np.zeros(2, "f4,i4"), "s": np.zeros(2, "f4,i4")}, "several structured arrays, r, s"),
    ],
)
def test_arrays_that_are_no_table_are_named(tmp_path: Path, arrays: Arrays, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        jet_file(write_npz(tmp_path / "a", arrays)).read()


@pytest.mark.parametrize(
    ("path", "message"),
    [(None, "which file.*dataset.path=FILE"), ("gone.csv", "gone.csv: no such file"), (".", "a folder, not a file")],
)
def test_a_path_to_no_file_is_named(path: str | None, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        jet_file(path).read()


def test_a_name_where_a_list_belongs_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"dataset.classes=g: write a list, dataset.classes=\[g\]"):
        jet_file("a.csv", classes="g")


def test_the_cernbox_layout_is_read_too(write_cernbox, cernbox_rows, features, labels) -> None:
    path = write_cernbox(cernbox_rows, name="a.h5")
    mine, theirs = jet_file(path, deduplicate=True).read(), cernbox(path=str(path)).read()
    np.testing.assert_array_equal(mine.features_NF, theirs.features_NF)
    np.testing.assert_array_equal(mine.labels_N, theirs.labels_N)
