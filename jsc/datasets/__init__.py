"""Jets, from their sources to batches: `JetSource.read` -> `JetTable` -> `prepare` -> `PreparedJets` -> batches."""

from jsc.datasets.datamodule import Batch, EpochOrder, EvalBatches, JetDataModule, Stretch, TrainBatches, TrainStretches
from jsc.datasets.jets import CLASS_NAMES, FEATURE_NAMES, DatasetError, JetSource, JetTable
from jsc.datasets.prepared import PreparedJets, Split, prepare, restandardised, split_rows
from jsc.datasets.sample import JetSample

__all__ = [
    "CLASS_NAMES",
    "FEATURE_NAMES",
    "Batch",
    "DatasetError",
    "EpochOrder",
    "EvalBatches",
    "JetDataModule",
    "JetSample",
    "JetSource",
    "JetTable",
    "PreparedJets",
    "Split",
    "Stretch",
    "TrainBatches",
    "TrainStretches",
    "prepare",
    "restandardised",
    "split_rows",
]
