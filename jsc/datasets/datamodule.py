"""Batches for Lightning: slices of tensors that lie on the device from the start.

No per-sample work and no worker processes: an epoch is one permutation of row numbers, a batch one gather. Shapes: N
jets, B jets of a batch, F features.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from jsc.datasets.epoch_order import EpochOrder
from jsc.datasets.prepared import PreparedJets, Split
from jsc.engine.memory import aligned_zeros

EVAL_BATCH_SIZE = 1 << 16  # jets; Lightning takes as long for a batch as the fused engine for some 5,000 of them

Batch = tuple[Tensor, Tensor]
"""(x_BF, y_B): standardised features in the run's precision, and int8 class indices."""


class TrainBatches:
    """One epoch of training batches, from the position that a checkpoint left off at.

    The last, smaller batch is kept unless it has one jet, which BatchNorm cannot train on. With several processes,
    each takes every `world_size`-th jet of the order, and jets that do not divide evenly are left out of the epoch.
    """

    def __init__(
        self, x_NF: Tensor, y_N: Tensor, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.x_NF, self.y_N = x_NF, y_N
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size
        self.sampler = EpochOrder(len(y_N), seed=seed)
        self._share = len(y_N) // world_size  # of the jets, this process's
        self._num_batches = self._share // batch_size + (self._share % batch_size > 1)
        self.position = 0  # batches of this epoch that were taken
        self._resumed: dict[str, int] = {}

    def __len__(self) -> int:
        """Batches an epoch."""
        return self._num_batches

    def rows_N(self) -> Tensor:  # noqa: N802  # bears its shape
        """This process's rows of the epoch, int64, in order; batch i is rows [i * batch_size, (i + 1) * batch_size)."""
        rows = self.sampler.rows_N()[: self._share * self.world_size][self.rank :: self.world_size]
        return rows[: self._num_batches * self.batch_size]

    def __iter__(self) -> Iterator[Any]:
        # The order is drawn at the first batch: Lightning asks for the iterator before it sets the epoch.
        is_resumed = self._resumed.get("epoch") == self.sampler.epoch
        self.position = self._resumed["position"] if is_resumed else 0
        self._resumed = {}
        yield from self._items(self.rows_N())

    def _items(self, rows_N: Tensor) -> Iterator[Any]:
        batches = torch.split(rows_N.to(self.x_NF.device), self.batch_size)
        while self.position < self._num_batches:
            rows_B = batches[self.position]
            self.position += 1
            yield self.x_NF[rows_B], self.y_N[rows_B]

    def state_dict(self) -> dict[str, int]:
        """What Lightning stores in a checkpoint, so that a run resumed within an epoch sees the rest of it."""
        return {"epoch": self.sampler.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._resumed = state


class TrainChunks(TrainBatches):
    """One epoch for an engine that takes a chunk of many batches at once: it is given this, until all of it was taken.

    `x_NF` and `y_N` (int8) are the whole split.
    """

    def _items(self, rows_N: Tensor) -> Iterator["TrainChunks"]:
        self._rows_N = rows_N
        while self.position < self._num_batches:
            yield self

    def take(self, num_batches: int) -> Tensor:
        """The rows of the next so many batches, int64, which count as taken from now on."""
        start = self.position * self.batch_size
        self.position += num_batches
        return self._rows_N[start : self.position * self.batch_size]


class EvalBatches:
    """A split in large slices, in order. With several processes, each takes its own contiguous share."""

    def __init__(self, x_NF: Tensor, y_N: Tensor, *, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        share = math.ceil(len(y_N) / world_size)
        self.x_NF, self.y_N = (t[rank * share : (rank + 1) * share] for t in (x_NF, y_N))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.y_N) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.y_N), self.batch_size):
            jets = slice(start, start + self.batch_size)
            yield self.x_NF[jets], self.y_N[jets]


class JetDataModule(pl.LightningDataModule):
    """Training and validation batches of one data set; with `in_chunks`, for an engine of many batches a call."""

    def __init__(self, jets: PreparedJets, *, batch_size: int, seed: int, in_chunks: bool) -> None:
        super().__init__()
        self.jets = jets
        self.batch_size = batch_size
        self.seed = seed
        self.in_chunks = in_chunks

    def tensors(self, split: Split) -> Batch:
        """A whole split on the trainer's device, in its precision; int8 classes where they go in chunks, else int64."""
        rows = self.jets.rows_of(split)
        trainer = self._trainer()
        precision = np.float64 if str(trainer.precision).startswith("64") else np.float32
        # A copy that begins at a cache line, as every jet of sixteen float32 features then does.
        x_NF = aligned_zeros(self.jets.x_NF[rows].shape, precision)
        x_NF[...] = self.jets.x_NF[rows]
        device = trainer.strategy.root_device
        labels_N = torch.from_numpy(self.jets.labels_N[rows])
        return torch.from_numpy(x_NF).to(device), labels_N.to(device, torch.int8 if self.in_chunks else torch.int64)

    def train_dataloader(self) -> TrainBatches:
        x_NF, y_N = self.tensors("train")
        kind = TrainChunks if self.in_chunks else TrainBatches
        return kind(x_NF, y_N, batch_size=self.batch_size, seed=self.seed, **self._share())

    def val_dataloader(self) -> EvalBatches:
        x_NF, y_N = self.tensors("val")
        return EvalBatches(x_NF, y_N, batch_size=EVAL_BATCH_SIZE, **self._share())

    def _share(self) -> dict[str, int]:
        return {"rank": self._trainer().global_rank, "world_size": self._trainer().world_size}

    def _trainer(self) -> pl.Trainer:
        assert self.trainer is not None, "batches are made for a trainer"
        return self.trainer
