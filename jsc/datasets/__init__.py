"""Jets, from every source in the same form: features and classes in the design's order, with the variant recorded.

`JetSource.read` -> `JetTable` -> `prepare` (once, through the cache) -> `PreparedJets`; `jsc.datasets.datamodule` makes
batches of them, and is not imported here because it loads torch.
"""

from jsc.datasets.cache import cache_folder, load_jets
from jsc.datasets.cernbox import CernboxJets
from jsc.datasets.jets import CLASS_NAMES, FEATURE_NAMES, FileSource, JetSource, JetTable
from jsc.datasets.openml import OpenmlJets
from jsc.datasets.prepared import PreparedJets, Split, prepare, restandardised, split_rows
from jsc.datasets.sample import JetSample
from jsc.datasets.simulated import SimulatedJets
from jsc.datasets.table_file import JetFile
from jsc.errors import DatasetError

__all__ = [
    "CLASS_NAMES",
    "FEATURE_NAMES",
    "CernboxJets",
    "DatasetError",
    "FileSource",
    "JetFile",
    "JetSample",
    "JetSource",
    "JetTable",
    "OpenmlJets",
    "PreparedJets",
    "SimulatedJets",
    "Split",
    "cache_folder",
    "load_jets",
    "prepare",
    "restandardised",
    "split_rows",
]
