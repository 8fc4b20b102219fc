import csv
import io

import pytest

from jsc.reporting.sweep_table import (
    SweepRow,
    best_row,
    job_table,
    seed_groups,
    status_line,
    sweep_csv,
    sweep_markdown,
    varied_keys,
)
from jsc.results import RunResult, Status

NO_SCORES = {"val_loss": None, "val_acc": None, "test_loss": None, "test_acc": None}


def result(status: Status, **scores: float | None) -> RunResult:
    known = {**NO_SCORES, **scores}
    return RunResult(
        status=status, error=None, model="m", num_parameters=1, dataset="d", dataset_variant="v", dataset_sha256="0",
        num_train=1, num_val=1, num_test=1, optimizer="adam", lr=0.1, weight_decay=0.0, scheduler="none", batch_size=2,
        max_epochs=3, epochs_run=3, seed=0, engine="fused", device="cpu", train_loss=1.0, train_acc=0.5,
        never_predicted=[], best_epoch=2, fit_seconds=1.5, total_seconds=2.0, jets_per_second=1.0,
        checkpoint_best="best.ckpt", checkpoint_last=None, command="c", versions={}, started_at="", host="",
        warnings=[], **known,
    )  # fmt: skip


def row(num: int, lr: str, seed: str, val_loss: float | None, status: Status | None = "completed") -> SweepRow:
    return SweepRow(
        num=num,
        status=status or "missing",
        overrides={"optimizer.lr": lr, "seed": seed, "trainer.max_epochs": "3"},
        folder=f"{num}_lr={lr},seed={seed}",
        command=f"python -m jsc.train optimizer.lr={lr} seed={seed}",
        error="ValueError: no\nmore" if status == "failed" else None,
        result=result(status, val_loss=val_loss, val_acc=0.5, test_loss=val_loss, test_acc=0.25) if status else None,
    )


ROWS = [
    row(0, "0.1", "0", 2.0),
    row(1, "0.1", "1", 1.0),
    row(2, "0.01", "0", 0.5),
    row(3, "0.01", "1", 3.5),
    row(4, "1", "0", 0.1, "diverged"),
    row(5, "1", "1", None, "failed"),
    row(6, "10", "0", None, None),
]


def test_only_what_varied_is_shown() -> None:
    assert varied_keys(ROWS) == ["optimizer.lr", "seed"]
    assert varied_keys(ROWS[:2]) == ["seed"]
    assert "trainer.max_epochs" not in job_table(ROWS).header


def test_groups_and_rows_come_best_first_and_runs_that_do_not_count_last() -> None:
    assert [[r.num for r in group.rows] for group in seed_groups(ROWS)] == [[1, 0], [2, 3], [4, 5], [6]]
    best = best_row(ROWS)
    assert best is not None
    assert best.num == 2
    assert best_row(ROWS[4:]) is None


def test_seeds_are_added_up() -> None:
    cells = list(csv.DictReader(io.StringIO(sweep_csv(ROWS))))
    assert [int(c["job"]) for c in cells] == [1, 0, 2, 3, 4, 5, 6]
    assert (cells[0]["group_n"], float(cells[0]["group_val_loss_mean"])) == ("2", 1.5)
    assert float(cells[0]["group_val_loss_sd"]) == pytest.approx(0.5**0.5)
    assert (cells[-1]["group_n"], cells[-1]["group_val_loss_mean"], cells[-1]["val_loss"]) == ("0", "", "")
    without_seeds = next(csv.reader(io.StringIO(sweep_csv([ROWS[0], ROWS[2]]))))
    assert not any(name.startswith("group_") for name in without_seeds)


def test_the_page_names_the_best_the_failed_and_the_commands() -> None:
    page = sweep_markdown(ROWS, "lr_x_seed")
    assert page.startswith("# Sweep lr_x_seed\n")
    assert "Best by validation loss: `2_lr=0.01,seed=0`, test accuracy 0.2500, checkpoint `best.ckpt`." in page
    assert "- `5_lr=1,seed=1`: more" in page
    assert "1.5000 ± 0.7071" in page
    commands = page[page.index("```sh") :].splitlines()[1:-1]
    assert commands == [r.command for group in seed_groups(ROWS) for r in group.rows]


def test_the_states_are_counted() -> None:
    assert status_line(ROWS) == "7 jobs: 4 completed, 1 diverged, 1 failed, 1 missing"
