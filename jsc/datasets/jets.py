"""What a data set is: a table of jets, the same for every source.

Shapes: N jets, F features, C classes.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FEATURE_NAMES = (
    "j_zlogz",
    "j_c1_b0_mmdt",
    "j_c1_b1_mmdt",
    "j_c1_b2_mmdt",
    "j_c2_b1_mmdt",
    "j_c2_b2_mmdt",
    "j_d2_b1_mmdt",
    "j_d2_b2_mmdt",
    "j_d2_a1_b1_mmdt",
    "j_d2_a1_b2_mmdt",
    "j_m2_b1_mmdt",
    "j_m2_b2_mmdt",
    "j_n2_b1_mmdt",
    "j_n2_b2_mmdt",
    "j_mass_mmdt",
    "j_multiplicity",
)
CLASS_NAMES = ("g", "q", "w", "z", "t")


class DatasetError(ValueError):
    """The data cannot be used; the message says what came, what is allowed and what to do."""


@dataclass(frozen=True)
class JetTable:
    """Jets as a source delivers them: de-duplicated, finite, not standardised, in file order.

    `features_NF` is float32 [N, F], `labels_N` int8 [N], an index into `class_names`. `variant` tells apart data sets
    whose scores must not be compared; `sha256` is that of the file (or files) the table was read from.
    """

    features_NF: npt.NDArray[np.float32]
    labels_N: npt.NDArray[np.int8]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    variant: str
    sha256: str


class JetSource(Protocol):
    """Where jets come from. A data set's YAML names one as its `_target_`; its other keys are the arguments."""

    def read(self) -> JetTable:
        """Raises DatasetError if the jets cannot be had or are not usable."""
        ...
