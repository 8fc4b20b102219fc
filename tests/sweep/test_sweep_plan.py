import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jsc.errors import CommandError
from jsc.results import RunResult
from jsc.sweep.plan import Job, Sweep, check_folders, read_plan, resumed_sweep, swept_keys
from jsc.sweep.summary import summary
from tests.conftest import settings_of


def begun(folder: Path, overrides: list[str], jobs: list[Job], *, resumes: bool = False) -> Sweep:
    sweep = Sweep(folder, overrides)
    sweep.add(jobs, resumes=resumes)
    sweep.write_plan({job.num for job in jobs})
    return sweep


def job(num: int, folder: Path, *overrides: str) -> Job:
    return Job(num, overrides, folder / f"{num}_job", f"run {num}", settings_of(*overrides))


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return [job(i, tmp_path, f"optimizer.lr={lr}", "+optimizer.rate=nan") for i, lr in enumerate((0.1, 0.01))]


def test_the_plan_says_once_what_the_jobs_share(tmp_path: Path, jobs: list[Job]) -> None:
    begun(tmp_path, ["lr=0.1,0.01"], jobs)
    plan = json.loads((tmp_path / "sweep.json").read_text())
    assert plan["words"] == ["lr=0.1,0.01"]
    assert {"seed", "optimizer.rate", "model.name"} < set(plan["settings"])
    assert [j["settings"] for j in plan["jobs"]] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.01}]
    assert plan["to_run"] == [0, 1]


def test_a_resumed_sweep_may_grow_but_not_change(tmp_path: Path, jobs: list[Job]) -> None:
    begun(tmp_path, [], jobs)
    begun(tmp_path, [], [*jobs, job(2, tmp_path, "optimizer.lr=1")], resumes=True)
    message = r"job 1 \(1_job\) has changed: seed was 0, is 5; optimizer.rate was nan, is \(nothing\)"
    with pytest.raises(CommandError, match=message):
        Sweep(tmp_path, []).add([job(1, tmp_path, "optimizer.lr=0.01", "seed=5")], resumes=True)
    with pytest.raises(CommandError, match=r"loss.class_weights was None, is \[1.0, 1.0, 1.0, 1.0, 1.0\]"):
        Sweep(tmp_path, []).add([job(2, tmp_path, "optimizer.lr=1", "loss.class_weights=[1,1,1,1,1]")], resumes=True)


def test_a_folder_that_holds_runs_is_not_written_over(tmp_path: Path, jobs: list[Job]) -> None:
    jobs[1].folder.mkdir()
    (jobs[1].folder / "result.json").touch()
    with pytest.raises(CommandError, match="holds a run already"):
        Sweep(tmp_path, []).add(jobs, resumes=False)
    assert read_plan(tmp_path) is None


def test_jobs_do_not_share_a_folder(tmp_path: Path, jobs: list[Job]) -> None:
    twin = replace(jobs[0], num=7)
    with pytest.raises(CommandError, match="jobs 0 and 7 would share"):
        check_folders([*jobs, twin])


def test_the_best_checkpoint_is_named_where_it_lies_now(
    tmp_path: Path, quick_run: Callable[..., RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert quick_run(folder=tmp_path / "original" / "0_job").checkpoint_best == "original/0_job/checkpoints/best.ckpt"
    (tmp_path / "original").rename(tmp_path / "moved here")
    moved = tmp_path / "moved here"
    rows = Sweep(moved, [], [job(0, moved)]).write_tables()
    for text in (summary(rows, moved), (moved / "sweep.md").read_text(), (moved / "sweep.csv").read_text()):
        assert "original" not in text
        assert "moved here/0_job/checkpoints/best.ckpt" in text
    monkeypatch.chdir("/")
    assert job(0, Path("/elsewhere")).best_checkpoint == "elsewhere/0_job/checkpoints/best.ckpt"
    monkeypatch.chdir(tmp_path)
    assert job(0, Path("/elsewhere")).best_checkpoint == "/elsewhere/0_job/checkpoints/best.ckpt"


def test_resuming_repeats_the_words_in_their_order(tmp_path: Path, jobs: list[Job]) -> None:
    folder = tmp_path / "it's,=odd"
    overrides = ["hydra.launcher.num_workers=2", "lr=1,2", "seed=0,1", "hydra.sweep.dir=x", "sweep.part=1/3"]
    begun(folder, overrides, jobs)
    words = resumed_sweep(folder, ["hydra.launcher.num_workers=4", "-m", "lr=1,2", "plugins=[x]"])
    assert words[:5] == ["-m", "hydra.launcher.num_workers=4", "lr=1,2", "seed=0,1", "plugins=[x]"]
    assert [w.partition("=")[0] for w in words[5:]] == ["sweep.resume", "hydra.sweep.dir"]
    assert "it\\'s,=odd" in words[5]


def test_another_launcher_does_not_get_the_settings_of_the_one_before(tmp_path: Path, jobs: list[Job]) -> None:
    overrides = [
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.num_tasks=20",
        "lr=1,2",
        "hydra.launcher.num_workers=2",
    ]
    begun(tmp_path, overrides, jobs)
    words = resumed_sweep(tmp_path, ["hydra/launcher=jsc", "hydra.launcher.num_workers=8"])
    assert words[1:4] == ["hydra/launcher=jsc", "lr=1,2", "hydra.launcher.num_workers=8"]
    assert resumed_sweep(tmp_path, ["hydra/launcher=submitit_slurm"])[1:5] == overrides


@pytest.mark.parametrize(("name", "message"), [("nowhere", "no such folder"), ("empty", "start the sweep anew")])
def test_what_is_no_sweep_is_not_resumed(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommandError, match=message):
        resumed_sweep(tmp_path / name, [])


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(CommandError, match=r"sweep\.json cannot be read"):
        resumed_sweep(tmp_path, [])


def test_what_a_sweep_varies_is_in_its_plan(tmp_path: Path, jobs: list[Job]) -> None:
    assert swept_keys(tmp_path, {}) == []
    begun(tmp_path, ["lr=0.1,0.01", "seed=0"], jobs)
    assert swept_keys(tmp_path, {}) == ["lr"]
    assert swept_keys(tmp_path, {"rate": "interval(0, 1)"}) == ["lr", "rate"]


def test_another_value_of_an_added_key_takes_the_first_ones_place(tmp_path: Path, jobs: list[Job]) -> None:
    begun(tmp_path, ["+model.options.width=1,2", "seed=0"], jobs)
    assert resumed_sweep(tmp_path, ["+model.options.width=1,2,3"])[1:3] == ["+model.options.width=1,2,3", "seed=0"]
