import hashlib
import logging

import h5py
import numpy as np
import pytest
from made_sources import cernbox

from jsc.datasets import CLASS_NAMES, FEATURE_NAMES, DatasetError


def test_columns_are_found_by_name_and_classes_are_in_the_designs_order(
    cernbox_rows, write_cernbox, features, labels
) -> None:
    path = write_cernbox(cernbox_rows)
    table = cernbox(path=str(path)).read()
    np.testing.assert_array_equal(table.features_NF, features)
    np.testing.assert_array_equal(table.labels_N, labels)
    assert (table.feature_names, table.class_names, table.variant) == (FEATURE_NAMES, CLASS_NAMES, "cernbox")
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (table.num_duplicates, table.num_dropped) == (0, 0)


def test_duplicates_and_undefined_classes_are_left_out_and_counted(
    cernbox_rows, write_cernbox, features, labels, caplog: pytest.LogCaptureFixture
) -> None:
    rows = np.concatenate([cernbox_rows, cernbox_rows[[5, 5, 7, 9, 9, 9]]])
    rows[200]["j_pt"] = 3.0  # no column of ours: still a duplicate of row 5
    rows["j_zlogz"][[7, 202]] = (0.0, -0.0)  # equal, though not bit for bit
    rows["j_mass_mmdt"][203] += 1  # not a duplicate of row 9; 204 and 205 are
    features[7, FEATURE_NAMES.index("j_zlogz")] = 0.0
    same_but_class = 11
    rows[204] = rows[same_but_class]  # the same jet under another class is another row
    for name in CLASS_NAMES:
        rows[f"j_{name}"][204] = name == CLASS_NAMES[(labels[same_but_class] + 1) % 5]
    rows["j_g"][20], rows["j_q"][20] = 1, 1  # two classes
    for name in CLASS_NAMES:
        rows[f"j_{name}"][21] = 0  # none
    rows["j_w"][22] = np.nan

    with caplog.at_level(logging.INFO):
        table = cernbox(path=str(write_cernbox(rows))).read()

    kept = [row for row in range(200) if row not in (20, 21, 22)] + [203, 204]
    np.testing.assert_array_equal(table.features_NF[:197], features[kept[:197]])
    assert len(table.labels_N) == len(kept)
    expected = [*labels[kept[:197]], labels[9], (labels[same_but_class] + 1) % 5]
    np.testing.assert_array_equal(table.labels_N, expected)
    assert (table.num_duplicates, table.num_dropped) == (4, 3)
    assert "left out 4 duplicate rows and 3 rows of undefined class; 199 jets stay" in caplog.text


def test_float64_rows_that_float32_cannot_tell_apart_are_not_duplicates(cernbox_rows, write_cernbox) -> None:
    wide = next(name for name in FEATURE_NAMES if cernbox_rows.dtype[name] == np.float64)
    rows = np.concatenate([cernbox_rows, cernbox_rows[:1]])
    rows[wide][200] *= 1 + 1e-12
    assert cernbox(path=str(write_cernbox(rows))).read().num_duplicates == 0


def test_values_that_are_not_finite_are_counted_and_placed(cernbox_rows, write_cernbox) -> None:
    rows = np.concatenate([cernbox_rows[:3], cernbox_rows])  # three duplicates: rows are still those of the file
    rows["j_mass_mmdt"][[100, 50]] = (np.nan, np.inf)
    rows["j_zlogz"][50] = -np.inf
    with pytest.raises(
        DatasetError, match=r"3 values are not finite .* in column j_zlogz \(1\), j_mass_mmdt \(2\); 2 "
    ):
        cernbox(path=str(write_cernbox(rows))).read()
    with pytest.raises(DatasetError, match=r"counted from 0 the first are 50, 100\. Remove"):
        cernbox(path=str(write_cernbox(rows))).read()


def test_missing_and_renamed_columns_are_named(cernbox_rows, write_cernbox) -> None:
    renamed = {"j_mass_mmdt": "j_mass_mmtd", "j_q": "j_quark"}
    rows = cernbox_rows.copy()
    rows.dtype.names = tuple(renamed.get(name, name) for name in rows.dtype.names)
    rows = rows[[name for name in rows.dtype.names if name != "j_multiplicity"]]
    with pytest.raises(DatasetError, match=r"columns missing: j_mass_mmdt \(renamed to j_mass_mmtd\?\), j_multip") as e:
        cernbox(path=str(write_cernbox(rows))).read()
    assert "j_q" in str(e.value)
    assert "j_quark" in str(e.value)


def test_an_array_of_another_name_is_reported(cernbox_rows, write_cernbox) -> None:
    with pytest.raises(DatasetError, match="no array t_allpar_new in it; there are: jets"):
        cernbox(path=str(write_cernbox(cernbox_rows, array="jets"))).read()


def test_an_array_without_columns_is_reported(tmp_path) -> None:
    with h5py.File(tmp_path / "a.z", "w") as file:
        file["t_allpar_new"] = np.zeros((5, 21))
    with pytest.raises(DatasetError, match="columns missing: j_zlogz"):
        cernbox(path=str(tmp_path / "a.z")).read()


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("gqwt", "no jet is of class z; every class needs jets"),
        ("t", "every jet is of class t"),
        ("", "no jets are in"),
    ],
)
def test_absent_classes_are_named(cernbox_rows, write_cernbox, labels, keep: str, message: str) -> None:
    rows = cernbox_rows[np.isin(np.array(CLASS_NAMES)[labels], list(keep))]
    with pytest.raises(DatasetError, match=message):
        cernbox(path=str(write_cernbox(rows))).read()


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_reported(cernbox_rows, write_cernbox, cut: float) -> None:
    path = write_cernbox(cernbox_rows)
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with pytest.raises(DatasetError, match=r"jets\.z: the HDF5 file is cut short or damaged"):
        cernbox(path=str(path)).read()


def test_a_file_of_another_sum_is_refused_until_it_is_accepted(cernbox_rows, write_cernbox) -> None:
    path = write_cernbox(cernbox_rows)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    with pytest.raises(DatasetError, match=rf"its MD5 sum is {md5}, not {'a' * 32}. .* say dataset.md5={md5}"):
        cernbox(path=str(path), md5="a" * 32).read()
    assert len(cernbox(path=str(path), md5=md5.upper()).read().labels_N) == 200
    assert len(cernbox(path=str(path), md5=None).read().labels_N) == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"md5": "abc"}, "dataset.md5=abc: an MD5 sum has 32"),
        ({"timeout_seconds": 0}, "timeout_seconds=0 .*above 0"),
        ({"num_tries": 0}, "num_tries=0: .*at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        cernbox(**changes)


def test_a_path_to_nothing_is_reported(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"dataset.path=.*gone\.z: no such file"):
        cernbox(path=str(tmp_path / "gone.z")).read()
