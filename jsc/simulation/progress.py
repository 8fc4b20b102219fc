"""The bar that a simulation shows: jets, jets per second, time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

SPEED_SECONDS = 120.0  # the time over which speed is averaged: batches come in lumps, and classes differ in speed


class _SpeedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} jets/s" if task.speed else "- jets/s")


@contextmanager
def progress_bar(num_jets: int, num_jets_done: int) -> Iterator[Callable[[int], None]]:
    """Show a bar and give the function that advances it by a number of jets. Jets done before count for no speed."""
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), _SpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, speed_estimate_period=SPEED_SECONDS) as progress:
        task = progress.add_task("simulating", total=num_jets, completed=num_jets_done)
        yield lambda num_new: progress.advance(task, num_new)
