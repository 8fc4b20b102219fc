from collections.abc import Callable
from pathlib import Path

import pytest

from jsc import results
from jsc.cli.settings import is_option
from jsc.errors import NoRunError
from jsc.reporting.runs import Run, find_run_folders, read_run

RunWriter = Callable[..., Path]


def names(folders: list[Path], root: Path) -> list[str]:
    return [folder.relative_to(root).as_posix() for folder in folders]


def test_runs_are_found_at_and_under_paths_and_globs_once(tmp_path: Path, run_writer: RunWriter) -> None:
    for name in ("sweeps/a/0_lr=0.1", "sweeps/a/2_lr=0.2", "sweeps/a/10_lr=0.3", "sweeps/b/0_x", "runs/jsc-tiny/one"):
        run_writer(tmp_path / name, max_epochs=1)
    (tmp_path / "sweeps/a/sweep.csv").write_text("")
    patterns = [str(tmp_path / "sweeps" / "*"), str(tmp_path / "sweeps/a/2_lr=0.2"), str(tmp_path / "runs")]
    expected = ["sweeps/a/0_lr=0.1", "sweeps/a/2_lr=0.2", "sweeps/a/10_lr=0.3", "sweeps/b/0_x", "runs/jsc-tiny/one"]
    assert names(find_run_folders(patterns), tmp_path) == expected
    assert names(find_run_folders([str(tmp_path / "sweeps/a/*")]), tmp_path) == expected[:0] + sorted(expected[:3])


def test_an_empty_job_is_found_and_a_report_is_not(tmp_path: Path, run_writer: RunWriter) -> None:
    run_writer(tmp_path / "0_a", max_epochs=1)
    (tmp_path / "1_b").mkdir()
    (tmp_path / "report" / "figures").mkdir(parents=True)
    (tmp_path / "report" / "report.md").write_text("")
    assert names(find_run_folders([str(tmp_path)]), tmp_path) == ["0_a", "1_b"]


@pytest.mark.parametrize("plan", ["{", "[]", '{"jobs": [1]}', '{"jobs": [{"folder": "1_gone"}]}'])
def test_a_job_that_is_planned_and_gone_is_found(tmp_path: Path, run_writer: RunWriter, plan: str) -> None:
    run_writer(tmp_path / "0_a", max_epochs=1)
    (tmp_path / "sweep.json").write_text(plan)
    found = names(find_run_folders([str(tmp_path)]), tmp_path)
    assert found == (["0_a", "1_gone"] if "gone" in plan else ["0_a"])
    assert read(tmp_path / "1_gone").problems[0].startswith("sweep.json names this job, but there is no such folder")


@pytest.mark.parametrize("path", ["nowhere", "no*where"])
def test_a_path_without_runs_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(NoRunError, match="no such folder"):
        find_run_folders([str(tmp_path / path)])
    with pytest.raises(NoRunError, match=r"no run in there.*result\.json"):
        find_run_folders([str(tmp_path)])


def read(folder: Path) -> Run:
    return read_run(folder, is_option, name=folder.name)


def test_a_whole_run_has_no_problems(tmp_path: Path, run_writer: RunWriter) -> None:
    run = read(run_writer(tmp_path / "run"))
    assert run.problems == ()
    assert (run.state, run.counts, len(run.epochs)) == ("completed", True, 20)
    assert run.test is not None


def edit(path: Path, change) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("file", "change", "state", "problem"),
    [
        ("result.json", None, "no result", "result.json is missing: the run was killed, or is still going"),
        ("result.json", lambda text: text[:300], "unreadable", "result.json: file: Invalid JSON"),
        ("result.json", lambda text: text.replace('"schema": 1', '"schema": 9'), "unreadable", "schema: Input"),
        (
            "result.json",
            lambda text: text.replace('"val_loss": 0', '"val_loss": null, "x": 0'),
            "unreadable",
            "x: Unexp",
        ),
        (
            "result.json",
            lambda text: text.replace('"val_acc": 0', '"val_acc": 1'),
            "unreadable",
            "cannot be: val_acc=1.",
        ),
        (
            "result.json",
            lambda text: text.replace('"batch_size": 256', '"batch_size": 0'),
            "unreadable",
            "batch_size=0",
        ),
        ("metrics.csv", None, "completed", "metrics.csv is missing: no curves"),
        ("metrics.csv", lambda text: "", "completed", "metrics.csv holds no epoch: no curves"),
        ("metrics.csv", lambda text: text[:-60], "completed", "its curves are left out"),
        ("metrics.csv", lambda text: text.replace("\n3,", "\n3,,", 1), "completed", "its curves are left out"),
        (
            "metrics.csv",
            lambda text: "\n".join(text.split("\n")[:11]),
            "completed",
            "holds 10 epochs, result.json says 20",
        ),
        ("checkpoints/test.json", None, "completed", "test.json is missing: no scores by class"),
        ("checkpoints/test.json", lambda text: text[:99], "completed", "no scores by class"),
        (
            "checkpoints/test.json",
            lambda text: text.replace('"num_test": 2000', '"num_test": 7'),
            "completed",
            "fit together",
        ),
        (
            "checkpoints/test.json",
            lambda text: text.replace('"test_acc": 0.', '"test_acc": 0.0'),
            "completed",
            "it was tested again since",
        ),
        (".hydra/config.yaml", None, "completed", ".hydra/config.yaml is missing"),
        (".hydra/config.yaml", lambda text: text + "\n}{", "completed", ".hydra/config.yaml cannot be read"),
        (
            ".hydra/config.yaml",
            lambda text: "- a\n- b\n",
            "completed",
            ".hydra/config.yaml cannot be read: it holds no keys",
        ),
    ],
)
def test_every_fault_is_said(
    tmp_path: Path, run_writer: RunWriter, file: str, change, state: str, problem: str
) -> None:
    folder = run_writer(tmp_path / "run")
    if change is None:
        (folder / file).unlink()
    else:
        edit(folder / file, change)
    run = read(folder)
    assert run.state == state
    assert problem in "; ".join(run.problems)
    assert str(tmp_path) not in "; ".join(run.problems)


def test_losses_that_are_not_numbers_make_a_run_diverged(tmp_path: Path, run_writer: RunWriter) -> None:
    folder = run_writer(tmp_path / "run")
    rows = results.read_metrics(folder)
    edit(folder / "metrics.csv", lambda text: text.replace(repr(rows[7].val_loss), "nan"))
    run = read(folder)
    assert (run.state, run.counts) == ("diverged", False)
    assert run.problems[0] == "the validation loss is not a number from epoch 7"
    nothing = read(run_writer(tmp_path / "other", train_loss=None))
    assert nothing.state == "diverged"


def test_an_empty_folder_is_a_run_that_left_nothing(tmp_path: Path) -> None:
    run = read(tmp_path)
    assert (run.state, run.result, run.epochs) == ("no result", None, ())
    assert "holds no record" in run.problems[0]


def test_options_leave_out_what_result_json_holds_and_paths(tmp_path: Path, run_writer: RunWriter) -> None:
    run = read(
        run_writer(tmp_path / "run", options={"loss.label_smoothing": 0.1, "logger.csv.flush": 3, "sweep.name": "x"})
    )
    assert run.options == {
        "loss.label_smoothing": 0.1,
        "optimizer.betas": "[0.9, 0.999]",
        "trainer.precision": "32-true",
        "engine.name": "auto",
    }
