"""What a data set is: a table of jets, the same for every source.

Shapes: N jets, F features, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from jsc.simulation.observables import OBSERVABLE_NAMES
from jsc.simulation.processes import CLASS_NAMES

__all__ = ["CLASS_NAMES", "FEATURE_NAMES", "MAX_CLASSES", "FileSource", "JetSource", "JetTable"]

FEATURE_NAMES = OBSERVABLE_NAMES  # what a simulation measures is what networks read
MAX_CLASSES = len(CLASS_NAMES)  # the registry's networks and the fused engine are built for at most five


@dataclass(frozen=True)
class JetTable:
    """Jets as a source delivers them: de-duplicated, finite, not standardised, in file order.

    `features_NF` is float32 [N, F], `labels_N` int8 [N], an index into `class_names`. `variant` tells apart data sets
    whose scores must not be compared; `sha256` is that of the file the table was read from. `num_duplicates` counts the
    rows left out because an equal one came before, `num_dropped` those left out because their class is undefined.
    """

    features_NF: npt.NDArray[np.float32]
    labels_N: npt.NDArray[np.int8]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    variant: str
    sha256: str
    num_duplicates: int = 0
    num_dropped: int = 0


@runtime_checkable
class JetSource(Protocol):
    """Where jets come from. A data set's YAML names one as its `_target_`; its other keys are the arguments."""

    def read(self) -> JetTable:
        """Raises DatasetError if the jets cannot be had or are not usable."""
        ...


@runtime_checkable
class FileSource(JetSource, Protocol):
    """A source whose jets come from one file, so that what is made of it can be cached under the file's hash."""

    def locate(self) -> Path:
        """The file, fetched and checked first if need be. Raises DatasetError."""
        ...

    def settings(self) -> Mapping[str, object]:
        """What decides the table besides the file's content, in plain values; a new one whenever `read` changes."""
        return {}
