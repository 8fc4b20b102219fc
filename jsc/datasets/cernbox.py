"""The jets that MASE, LogicNets, PolyLUT and NeuraLUT train on, from CERNBox."""

import re
from dataclasses import dataclass
from pathlib import Path

from jsc.datasets.cache import cache_folder
from jsc.datasets.column_files import open_hdf5
from jsc.datasets.columns import ONE_HOT_COLUMNS, Columns, make_table, require_columns
from jsc.datasets.download import download
from jsc.datasets.jets import FEATURE_NAMES, FileSource, JetTable
from jsc.datasets.source_file import check_md5, named_file
from jsc.errors import DatasetError

FILE_NAME = "processed-pythia82-lhc13-all-pt1-50k-r1_h022_e0175_t220_nonu_truth.z"  # HDF5, despite its name
ARRAY_NAME = "t_allpar_new"
VARIANT = "cernbox"


@dataclass(frozen=True)
class CernboxJets(FileSource):
    """The 986,806 jets on CERNBox that MASE and LogicNets use, downloaded once.

    `path` is a copy of the file, or None: the one in the cache folder, downloaded from `url` if it is not there. `md5`
    is its sum, or None: not checked. A transfer is tried `num_tries` times, and may stand still for `timeout_seconds`.
    Of rows equal in the sixteen features and five labels the first stays; rows whose labels are not one-hot go.
    """

    path: str | None
    md5: str | None
    url: str
    timeout_seconds: float
    num_tries: int

    def __post_init__(self) -> None:
        if self.md5 is not None and not re.fullmatch("[0-9a-fA-F]{32}", str(self.md5)):
            raise DatasetError(f"dataset.md5={self.md5}: an MD5 sum has 32 hexadecimal digits; null checks none")
        if self.timeout_seconds <= 0 or self.num_tries < 1:
            raise DatasetError(
                f"dataset.timeout_seconds={self.timeout_seconds} dataset.num_tries={self.num_tries}: the one must be "
                "above 0, the other at least 1"
            )

    def locate(self) -> Path:
        if self.path is not None:
            path = named_file(self.path, advice="; without dataset.path= it is downloaded")
        else:
            path = cache_folder() / "downloads" / FILE_NAME
            download(
                self.url,
                path,
                timeout_seconds=self.timeout_seconds,
                num_tries=self.num_tries,
                check=_check_hdf5,
                by_hand=f"Without network, put the file there by hand, as {path}, or say dataset.path=FILE",
            )
        check_md5(path, self.md5, advice="; to fetch it again, delete it first")
        return path

    def read(self) -> JetTable:
        path = self.locate()
        names = (*FEATURE_NAMES, *ONE_HOT_COLUMNS.values())
        with open_hdf5(path) as file:
            if ARRAY_NAME not in file:
                raise DatasetError(f"{path}: no array {ARRAY_NAME} in it; there are: {', '.join(file) or 'none'}")
            array = file[ARRAY_NAME]
            require_columns(names, array.dtype.names or (), str(path), advice="dataset=jsc_file reads other layouts")
            rows = array.fields(list(names))[()]  # 21 columns of about 60
        columns = Columns({name: rows[name] for name in names}, one_hot=ONE_HOT_COLUMNS)
        return make_table(columns, path, variant=VARIANT, deduplicate=True)


def _check_hdf5(path: Path) -> None:
    with open_hdf5(path):
        pass
