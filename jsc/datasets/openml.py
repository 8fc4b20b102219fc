"""The hls4ml variant of the jets, from OpenML."""

import importlib.util
import shutil
import socket
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import numpy as np

from jsc.datasets.cache import cache_folder, make_once
from jsc.datasets.column_files import read_npz
from jsc.datasets.columns import make_table
from jsc.datasets.jets import FEATURE_NAMES, FileSource, JetTable
from jsc.datasets.source_file import named_file
from jsc.errors import DatasetError

DATA_ID = 42468  # hls4ml_lhc_jets_hlf, 830,000 jets
FILE_NAME = f"openml-{DATA_ID}.npz"
VARIANT = "openml"


@dataclass(frozen=True)
class OpenmlJets(FileSource):
    """The 830,000 jets of OpenML 42468, hls4ml_lhc_jets_hlf, fetched once with scikit-learn.

    `path` is the file that another machine's fetch left in its cache, or None: this machine's own, fetched if need be.
    OpenML gives the sum of what it sends, and scikit-learn checks it. A transfer may stand still for `timeout_seconds`.
    """

    path: str | None
    timeout_seconds: float

    def __post_init__(self) -> None:
        if self.timeout_seconds <= 0:
            raise DatasetError(f"dataset.timeout_seconds={self.timeout_seconds}: it must be above 0")

    def locate(self) -> Path:
        if self.path is not None:
            return named_file(self.path, advice="; without dataset.path= it is fetched")
        path = cache_folder() / "downloads" / FILE_NAME
        make_once(path, lambda partial: self._fetch(partial, path))
        return path

    def read(self) -> JetTable:
        path = self.locate()
        return make_table(read_npz(path), path, variant=VARIANT, features=FEATURE_NAMES)

    def _fetch(self, partial: Path, path: Path) -> None:
        """Write the data set as an .npz file: X, y (class names), feature_names."""
        try:
            from sklearn.datasets import fetch_openml
        except ImportError as error:
            raise DatasetError("dataset=jsc_openml needs scikit-learn: pip install 'jsc[openml]'") from error
        scratch = path.with_name(f"{path.name}.scratch")
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed process left
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(self.timeout_seconds)  # fetch_openml takes no timeout of its own
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns before each new try; the last failure is raised
                bunch = fetch_openml(
                    data_id=DATA_ID,
                    as_frame=False,
                    parser="pandas" if importlib.util.find_spec("pandas") else "liac-arff",  # minutes slower
                    data_home=str(scratch),  # without one it transfers everything twice
                )
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, HTTPError):
                error.close()  # it holds the connection
            what = f"its answer lacks {error}" if isinstance(error, KeyError) else error
            raise DatasetError(
                f"could not fetch OpenML {DATA_ID}: {what}. Without network, fetch it on another machine and copy "
                f"{FILE_NAME} from its cache folder's downloads/ to {path}, or say dataset.path=FILE"
            ) from error
        finally:
            socket.setdefaulttimeout(before)
            shutil.rmtree(scratch, ignore_errors=True)
        with partial.open("wb") as file:
            np.savez(
                file,
                X=np.asarray(bunch["data"], dtype=np.float64),
                y=np.asarray(bunch["target"], dtype=np.str_),
                feature_names=np.asarray(bunch["feature_names"], dtype=np.str_),
            )
