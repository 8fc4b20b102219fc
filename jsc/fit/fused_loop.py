"""The fused engine in Lightning's loops: one call of the training loop takes many optimizer steps.

Lightning counts batches one by one; here its counters jump over a stretch, so that callbacks, checkpoints, schedulers,
`max_steps` and `val_check_interval` see the very steps that they would have seen with the torch engine. Its loop over
validation batches does less between them. Shapes: S steps, N jets, F features.
"""

import itertools
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.profilers import PassThroughProfiler
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from jsc.datasets.datamodule import Stretch
from jsc.engine import CrossEntropy, FusedTrainer, Plan
from jsc.fit.schedule import Schedule

SECONDS_A_STRETCH = 0.1  # signals, callbacks and the progress bar wait for as long


@dataclass(frozen=True)
class TakenSteps:
    """What a stretch of optimizer steps saw: each batch's mean loss, correct jets, jets and learning rate."""

    losses_S: npt.NDArray[np.float64]
    num_correct_S: npt.NDArray[np.int64]
    sizes_S: npt.NDArray[np.int64]
    rates_S: npt.NDArray[np.float64]


class FusedSteps:
    """Takes the trainer's optimizer steps by stretches. Built when a fit starts."""

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        trainer: pl.Trainer,
        *,
        loss: CrossEntropy,
        schedule: Schedule | None,
        seed: int,
    ) -> None:
        self._trainer = trainer
        self._schedule = schedule
        self._optimizer = trainer.optimizers[0]
        self._fused = FusedTrainer(model, self._optimizer, loss=loss, seed=seed, plan=plan)
        self._steps_a_second = 1000.0  # learnt from each stretch
        adopt_step_count(trainer)

    def take(self, stretch: Stretch) -> TakenSteps:
        """Take as many steps as there are to the next thing that Lightning does, but no longer than it should wait."""
        num_steps = self._num_steps(stretch.loader.position)
        started = time.perf_counter()
        rates_S = self._learning_rates(num_steps)
        rows_N = stretch.rows(num_steps)
        size = stretch.loader.batch_size
        losses_S, num_correct_S = self._fused.train(
            stretch.x_NF,
            stretch.labels_N,
            rows_N,
            batch_size=size,
            learning_rates_S=rates_S,
            first_step=self._trainer.global_step,
        )
        stretch.advance(num_steps)
        count_steps(self._trainer, num_steps)
        if self._trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._step_scheduler("epoch")
        self._steps_a_second = num_steps / max(time.perf_counter() - started, 1e-6)
        sizes_S = np.full(num_steps, size, np.int64)
        sizes_S[-1] = len(rows_N) - (num_steps - 1) * size
        return TakenSteps(losses_S, num_correct_S, sizes_S, rates_S)

    def _num_steps(self, position: int) -> int:
        """`position` counts the batches of this epoch that were taken."""
        trainer = self._trainer
        to_epoch_end = int(trainer.num_training_batches) - position
        interval = trainer.val_check_batch
        per_epoch = trainer.check_val_every_n_epoch is not None
        counted = position if per_epoch else trainer.fit_loop.epoch_loop.total_batch_idx
        to_validation = math.inf if interval is None or math.isinf(interval) else interval - counted % interval
        to_last_step = math.inf if trainer.max_steps == -1 else trainer.max_steps - trainer.global_step
        in_time = max(1, int(self._steps_a_second * SECONDS_A_STRETCH))
        return int(min(to_epoch_end, to_validation, to_last_step, in_time))

    def _learning_rates(self, num_steps: int) -> npt.NDArray[np.float64]:
        """One a step; moves a scheduler of interval "step" on by as many."""
        self._optimizer._opt_called = True  # type: ignore[attr-defined]  # schedulers warn unless step() was called
        rates_S = np.full(num_steps, self._rate(), np.float64)
        if self._schedule is not None and self._schedule.interval == "step":
            for s in range(num_steps):
                rates_S[s] = self._rate()
                self._step_scheduler("step")
        return rates_S

    def _step_scheduler(self, interval: str) -> None:
        scheduler = self._scheduler()
        if scheduler is None or isinstance(scheduler, ReduceLROnPlateau):
            return
        assert self._schedule is not None
        if self._schedule.interval == interval:
            scheduler.step()

    def _scheduler(self) -> LRScheduler | ReduceLROnPlateau | None:
        configs = self._trainer.lr_scheduler_configs
        return configs[0].scheduler if configs else None

    def _rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])


def count_steps(trainer: pl.Trainer, num_steps: int) -> None:
    """Advance Lightning's counters, which count one batch a call themselves, by a stretch."""
    loop = trainer.fit_loop.epoch_loop
    batches = loop.batch_progress
    for batch_counts in (batches.total, batches.current):
        for name in ("ready", "started", "processed", "completed"):
            setattr(batch_counts, name, getattr(batch_counts, name) + num_steps - 1)
    loop._batches_that_stepped += num_steps - 1
    batches.is_last_batch = batches.current.ready >= trainer.num_training_batches
    # Both engines' counters: either may resume from this run's checkpoints.
    for steps in (
        loop.manual_optimization.optim_step_progress,
        loop.automatic_optimization.optim_progress.optimizer.step,
    ):
        for step_counts in (steps.total, steps.current):
            step_counts.ready += num_steps
            step_counts.completed += num_steps


def adopt_step_count(trainer: pl.Trainer) -> None:
    """After a checkpoint of the torch engine was restored: its optimizer steps were this run's."""
    loop = trainer.fit_loop.epoch_loop
    before: Any = loop.automatic_optimization.optim_progress.optimizer.step.total
    now: Any = loop.manual_optimization.optim_step_progress.total
    now.ready, now.completed = before.ready, before.completed


class Unprofiled(PassThroughProfiler):
    """Lightning enters a context of its profiler for every hook of every callback, profiled or not."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        return self.nothing


class FusedValidation(_EvaluationLoop):
    """Lightning's validation loop with all its hooks, less the fetching of batches, made anew for each validation.

    That takes as long as the engine needs to score 100,000 jets.
    """

    @classmethod
    def replace(cls, trainer: pl.Trainer) -> None:
        """Validate by this loop from now on; to be called before a checkpoint is restored."""
        before = trainer.fit_loop.epoch_loop.val_loop
        trainer.fit_loop.epoch_loop.val_loop = cls(
            trainer, before._trainer_fn, before._stage, before.verbose, before.inference_mode
        )

    @torch.no_grad()
    def run(self) -> list[Any]:
        self.setup_data()
        if self.skip:
            return []
        assert self._combined_loader is not None
        self._data_fetcher = _DataFetcher()  # asked what kind it is, and for nothing else
        self._logged_outputs = []
        self.batch_progress.reset_on_run()
        self.on_run_start()
        num_batches = int(self.max_batches[0])
        for index, batch in enumerate(itertools.islice(self._combined_loader.flattened[0], num_batches)):
            self.batch_progress.is_last_batch = index + 1 == num_batches
            self._evaluation_step(batch, index, 0, None)
            self.on_iteration_done()
        self._store_dataloader_outputs()
        outputs: list[Any] = self.on_run_end()
        return outputs

    def _verify_dataloader_idx_requirement(self) -> None:
        """There is one loader."""
