"""The names of Lightning's insides that jsc uses, all in one place; a test says which a new version has lost.

Lightning counts batches one by one. The fused engine takes a chunk of many in one call, and Lightning's counters jump
over it, so that callbacks, checkpoints, schedulers, `max_steps` and `val_check_interval` see the very steps that they
would have seen with the torch engine. Without that Lightning would be called once an optimizer step: a warm job of 20
epochs would take 2,051 ms of a core instead of 118 (measured 2026-11-25, pytorch-lightning 2.6.6).
"""

from typing import Any

import pytorch_lightning as pl


def count_chunk(trainer: pl.Trainer, num_steps: int) -> None:
    """Advance the counters by a chunk of optimizer steps; Lightning itself counts one batch a call."""
    loop = trainer.fit_loop.epoch_loop
    batches = loop.batch_progress
    for batch_counts in (batches.total, batches.current):
        for name in ("ready", "started", "processed", "completed"):
            setattr(batch_counts, name, getattr(batch_counts, name) + num_steps - 1)
    loop._batches_that_stepped += num_steps - 1  # where loggers place what a callback logs
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
