"""Jets that `python -m jsc.simulate` has made."""

from dataclasses import dataclass
from pathlib import Path

from jsc.datasets.column_files import read_npz
from jsc.datasets.columns import make_table
from jsc.datasets.jets import FEATURE_NAMES, FileSource, JetTable
from jsc.errors import DatasetError

FILE_NAME = "jets.npz"
VARIANT = "simulated-rapidity"  # angles in rapidity; the bundled sample's are in pseudorapidity, so scores differ


@dataclass(frozen=True)
class SimulatedJets(FileSource):
    """Jets that `python -m jsc.simulate` made: `path` is its output folder, which holds jets.npz."""

    path: str | None

    def locate(self) -> Path:
        if self.path is None:
            raise DatasetError(
                "which jets? dataset=jsc_simulated needs dataset.path=FOLDER, where `python -m jsc.simulate` wrote them"
            )
        path = Path(self.path).expanduser() / FILE_NAME
        if not path.is_file():
            raise DatasetError(
                f"dataset.path={self.path}: no {FILE_NAME} in it; `python -m jsc.simulate` makes one, and goes on with "
                "what it has begun when it is started again"
            )
        return path

    def read(self) -> JetTable:
        path = self.locate()
        columns = read_npz(path)
        return make_table(columns, path, variant=columns.variant or VARIANT, features=FEATURE_NAMES)
