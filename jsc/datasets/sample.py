"""The jets that come with the package, so that a fresh install can train at once."""

import hashlib
import io
from dataclasses import dataclass
from importlib import resources

import numpy as np

from jsc.datasets.jets import CLASS_NAMES, FEATURE_NAMES, JetTable
from jsc.errors import DatasetError

FILE_NAME = "jsc_sample.npz"
SHA256 = "a42b591452edd9dfa60d13ad18e8172c64bac30c6c1aacfb14d6d031168785ab"  # printed by benchmarks/cut_sample.py


@dataclass(frozen=True)
class JetSample:
    """100,000 simulated jets: the first 20,000 of each class of the full simulated set, in file order."""

    def read(self) -> JetTable:
        """Raises DatasetError if the installed file is not the one that this version of jsc was released with."""
        content = resources.files("jsc.datasets").joinpath(FILE_NAME).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != SHA256:
            raise DatasetError(
                f"the bundled {FILE_NAME} has SHA-256 {sha256}, but {SHA256} belongs here: "
                "the installation is damaged; install jsc again"
            )
        with np.load(io.BytesIO(content)) as arrays:
            return JetTable(
                features_NF=arrays["X"],
                labels_N=arrays["y"],
                feature_names=FEATURE_NAMES,
                class_names=CLASS_NAMES,
                variant="simulated",
                sha256=sha256,
            )
