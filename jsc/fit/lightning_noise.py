"""Lightning's tips, its account of our own arguments, a deprecation within it: nothing that our users can act on."""

import logging
import warnings


def quieten_lightning() -> None:
    """Keep Lightning's warnings and errors, drop the rest. Call before a Trainer is built."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A resumed run goes on in its folder.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # Points of the step tags are counted over the whole fit, so a short epoch does not lose them.
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    # On a cluster's login node a run is meant to be there, and our tasks use srun themselves.
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
