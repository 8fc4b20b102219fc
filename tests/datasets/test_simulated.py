from pathlib import Path

import numpy as np
import pytest

from jsc.datasets import CLASS_NAMES, FEATURE_NAMES, DatasetError, SimulatedJets


def test_the_simulations_folder_is_read(tmp_path: Path, features, labels) -> None:
    names = {"feature_names": np.array(FEATURE_NAMES), "class_names": np.array(CLASS_NAMES)}
    np.savez(tmp_path / "jets.npz", X=features, y=labels, pt=np.ones(200, np.float32), **names)
    table = SimulatedJets(path=str(tmp_path)).read()
    np.testing.assert_array_equal(table.features_NF, features)
    np.testing.assert_array_equal(table.labels_N, labels)
    assert (table.feature_names, table.class_names, table.variant) == (FEATURE_NAMES, CLASS_NAMES, "simulated-rapidity")


@pytest.mark.parametrize("path", [None, "nowhere"])
def test_without_jets_the_command_is_named(path: str | None) -> None:
    with pytest.raises(DatasetError, match=r"dataset.path=.*`python -m jsc.simulate`"):
        SimulatedJets(path=path).locate()
