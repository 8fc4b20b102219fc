"""Jets, from every source in the same form: features and classes in the design's order, with the variant recorded."""

from jsc.datasets.cache import cache_folder, load_jets
from jsc.datasets.cernbox import CernboxJets
from jsc.datasets.jets import CLASS_NAMES, FEATURE_NAMES, DatasetError, FileSource, JetSource, JetTable
from jsc.datasets.openml import OpenmlJets
from jsc.datasets.prepared import PreparedJets, Split, prepare, split_rows
from jsc.datasets.simulated import SimulatedJets
from jsc.datasets.table_file import JetFile

__all__ = [
    "CLASS_NAMES",
    "FEATURE_NAMES",
    "CernboxJets",
    "DatasetError",
    "FileSource",
    "JetFile",
    "JetSource",
    "JetTable",
    "OpenmlJets",
    "PreparedJets",
    "SimulatedJets",
    "Split",
    "cache_folder",
    "load_jets",
    "prepare",
    "split_rows",
]
