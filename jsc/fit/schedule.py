"""How the learning rate changes over a fit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate changes: `make(optimizer)` builds the scheduler, stepped once an `interval`.

    `needs_total_steps`: `make` also takes `total_steps`, the optimizer steps of the whole fit. `monitor` names the
    logged value that a scheduler such as ReduceLROnPlateau watches.
    """

    make: Callable[..., LRScheduler]
    interval: Literal["epoch", "step"] = "epoch"
    monitor: str | None = None
    needs_total_steps: bool = False

    def start(self, optimizer: torch.optim.Optimizer, *, total_steps: int) -> LRScheduler:
        """Build the scheduler for a fit of `total_steps` optimizer steps."""
        return self.make(optimizer, **({"total_steps": total_steps} if self.needs_total_steps else {}))
