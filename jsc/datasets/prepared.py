"""Jets ready to train on: split, standardised, grouped by split. Shapes: N jets, F features, C classes."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from jsc.datasets.jets import JetTable
from jsc.errors import DatasetError

Split = Literal["train", "val", "test"]

TEST_FRACTION = 0.2
VAL_FRACTION = 0.1  # of the rows that are not test rows
SPLIT_SEED = 42  # that of MASE, LogicNets and PolyLUT, whose test rows these are


@dataclass(frozen=True)
class PreparedJets:
    """Standardised jets, the rows of each split side by side: train, then val, then test.

    `x_NF` is float32 [N, F] with the training rows' mean 0 and standard deviation 1, `labels_N` int8 [N], `rows_N`
    int64 [N], the row of the source's table that each jet was. `mean_F` and `std_F` (of the training rows) and `min_F`
    and `max_F` (of all rows) are float64, in the features' units. `num_duplicates` and `num_dropped` are the table's.
    """

    x_NF: npt.NDArray[np.float32]
    labels_N: npt.NDArray[np.int8]
    rows_N: npt.NDArray[np.int64]
    num_train: int
    num_val: int
    num_test: int
    mean_F: npt.NDArray[np.float64]
    std_F: npt.NDArray[np.float64]
    min_F: npt.NDArray[np.float64]
    max_F: npt.NDArray[np.float64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    variant: str
    sha256: str
    num_duplicates: int
    num_dropped: int

    @property
    def num_features(self) -> int:
        return len(self.feature_names)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def rows_of(self, split: Split) -> slice:
        """The rows of `x_NF`, `labels_N` and `rows_N` that belong to a split."""
        start_val = self.num_train
        start_test = start_val + self.num_val
        return {
            "train": slice(0, start_val),
            "val": slice(start_val, start_test),
            "test": slice(start_test, start_test + self.num_test),
        }[split]


def split_rows(num_jets: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Disjoint row numbers (train, val, test).

    The very rows of scikit-learn's `train_test_split(test_size=0.2, random_state=42)`, then of the same with 0.1 on
    what is left; drawn here because importing scikit-learn takes longer than training does (a test compares the two).
    """
    rest, test = _split_once(num_jets, TEST_FRACTION)
    train, val = _split_once(len(rest), VAL_FRACTION)
    return rest[train], rest[val], test


def _split_once(num_rows: int, fraction: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    num_taken = math.ceil(fraction * num_rows)
    order = np.random.RandomState(SPLIT_SEED).permutation(num_rows)  # the legacy generator drew the field's split
    return order[num_taken:].astype(np.int64), order[:num_taken].astype(np.int64)


def prepare(table: JetTable) -> PreparedJets:
    """Split a table and standardise it with the statistics of its training rows alone.

    Raises DatasetError if a class has no rows in a split.
    """
    splits = split_rows(len(table.labels_N))
    for name, rows in zip(("train", "val", "test"), splits, strict=True):
        present = np.bincount(table.labels_N[rows], minlength=len(table.class_names)) > 0
        absent = [c for c, is_present in zip(table.class_names, present, strict=True) if not is_present]
        if absent:
            raise DatasetError(
                f"the {name} split of {len(rows)} jets has none of class {', '.join(absent)}; "
                f"every class needs jets in every split, so give more jets (there are {len(table.labels_N)})"
            )
    train_NF = table.features_NF[splits[0]].astype(np.float64)
    mean_F, std_F = train_NF.mean(axis=0), train_NF.std(axis=0)
    std_F[std_F == 0] = 1.0  # a constant feature becomes 0, not NaN
    rows_N = np.concatenate(splits)
    return PreparedJets(
        x_NF=((table.features_NF[rows_N] - mean_F) / std_F).astype(np.float32),
        labels_N=table.labels_N[rows_N],
        rows_N=rows_N,
        num_train=len(splits[0]),
        num_val=len(splits[1]),
        num_test=len(splits[2]),
        mean_F=mean_F,
        std_F=std_F,
        min_F=table.features_NF.min(axis=0).astype(np.float64),
        max_F=table.features_NF.max(axis=0).astype(np.float64),
        feature_names=table.feature_names,
        class_names=table.class_names,
        variant=table.variant,
        sha256=table.sha256,
        num_duplicates=table.num_duplicates,
        num_dropped=table.num_dropped,
    )


def restandardised(
    jets: PreparedJets, *, mean_F: npt.NDArray[np.float64], std_F: npt.NDArray[np.float64]
) -> PreparedJets:
    """The same jets in the standardisation that a network was trained with."""
    if np.array_equal(mean_F, jets.mean_F) and np.array_equal(std_F, jets.std_F):
        return jets
    x_NF = ((jets.x_NF * jets.std_F + (jets.mean_F - mean_F)) / std_F).astype(np.float32)
    return dataclasses.replace(jets, x_NF=x_NF, mean_F=mean_F, std_F=std_F)
