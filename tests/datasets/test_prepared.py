from importlib import resources

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from jsc.datasets import CLASS_NAMES, FEATURE_NAMES, DatasetError, JetTable, prepare, split_rows


def table(features, labels) -> JetTable:
    return JetTable(features, labels, FEATURE_NAMES, CLASS_NAMES, "made", "0" * 64, 3, 4)


def test_features_and_classes_are_those_of_the_bundled_jets_in_their_order() -> None:
    with resources.files("jsc.datasets").joinpath("jsc_sample.npz").open("rb") as file, np.load(file) as arrays:
        assert tuple(arrays["feature_names"]) == FEATURE_NAMES
        assert tuple(arrays["class_names"]) == CLASS_NAMES


@pytest.mark.parametrize("num_jets", [10, 11, 99, 1000, 12345, 100_000])
def test_the_rows_are_those_of_scikit_learn(num_jets: int) -> None:
    rest, test = train_test_split(np.arange(num_jets), test_size=0.2, random_state=42)
    train, val = train_test_split(rest, test_size=0.1, random_state=42)
    for ours, theirs in zip(split_rows(num_jets), (train, val, test), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_splits_are_disjoint_and_lose_nothing(features, labels) -> None:
    jets = prepare(table(features, labels))
    np.testing.assert_array_equal(np.sort(jets.rows_N), np.arange(200))
    assert (jets.num_train, jets.num_val, jets.num_test) == (144, 16, 40)
    assert [jets.rows_of(split) for split in ("train", "val", "test")] == [
        slice(0, 144),
        slice(144, 160),
        slice(160, 200),
    ]
    np.testing.assert_array_equal(jets.labels_N, labels[jets.rows_N])
    assert (jets.num_duplicates, jets.num_dropped) == (3, 4)


def test_the_standardiser_knows_the_training_rows_alone(features, labels) -> None:
    train_rows = split_rows(200)[0]
    others = np.setdiff1d(np.arange(200), train_rows)
    shifted = features.copy()
    shifted[others] += 1000
    plain, with_shift = prepare(table(features, labels)), prepare(table(shifted, labels))
    np.testing.assert_array_equal(plain.mean_F, with_shift.mean_F)
    np.testing.assert_array_equal(plain.std_F, with_shift.std_F)
    train_NF = plain.x_NF[plain.rows_of("train")].astype(np.float64)
    np.testing.assert_allclose(train_NF.mean(axis=0), 0, atol=1e-7)  # float32 rounds each value by up to 2e-7
    np.testing.assert_allclose(train_NF.std(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(plain.min_F, features.min(axis=0))
    np.testing.assert_array_equal(plain.max_F, features.max(axis=0))


def test_a_constant_feature_becomes_zero(features, labels) -> None:
    features[:, 3] = 7
    assert (prepare(table(features, labels)).x_NF[:, 3] == 0).all()


def test_a_class_absent_from_a_split_is_named(features, labels) -> None:
    labels[split_rows(200)[1]] = 0
    with pytest.raises(DatasetError, match="the val split of 16 jets has none of class q, w, z, t"):
        prepare(table(features, labels))
