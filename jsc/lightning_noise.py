"""Lightning's tips, its account of our own arguments, and a deprecation within it: nothing our users can act on."""

import logging
import warnings


def quieten_lightning() -> None:
    """Keep Lightning's warnings and errors, drop the rest. Call before a Trainer is built."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
