"""What users of Hydra rely on, with jsc's task: in one run, in a sweep's workers, and under Hydra's launcher."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

from jsc.results import read_result
from tests.conftest import QUICK, Command

HOOKS = """
import json, os, threading
from pathlib import Path
from hydra.experimental.callback import Callback

class Notes(Callback):
    def __init__(self, file):
        self.file = Path(file).absolute()

    def note(self, what, config, **more):
        with self.file.open("a") as file:
            print(json.dumps({"what": what, "process": os.getpid(), **more}), file=file)

    def on_run_start(self, config, **_):
        self.note("run starts", config)
    def on_run_end(self, config, job_return, **_):
        self.note("run ended", config, status=job_return.status.name)
    def on_multirun_start(self, config, **_):
        self.note("sweep starts", config)
    def on_multirun_end(self, config, **_):
        self.note("sweep ended", config)
    def on_job_start(self, config, *, task_function, **_):
        self.note("job starts", config, num=config.hydra.job.get("num"), task=task_function.__module__,
                  seed=config.seed)
    def on_job_end(self, config, job_return, **_):
        value = job_return.return_value if job_return.status.name == "COMPLETED" else repr(job_return._return_value)
        self.note("job ended", config, status=job_return.status.name, value=value, seed=job_return.cfg.seed,
                  name=job_return.task_name, overrides=list(job_return.overrides), folder=job_return.working_dir,
                  output=job_return.hydra_cfg.hydra.runtime.output_dir)

class Unsendable(Callback):
    def __init__(self):
        self.lock = threading.Lock()
"""
SEEING = """
import json, logging, os
from pathlib import Path
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_original_cwd
from torch import nn
from jsc.models import ModelInfo, register

class Seeing(nn.Linear):
    def forward(self, x):
        if self.training:
            job = HydraConfig.get()
            seen = [os.getcwd(), os.environ["OF_JOB"], get_original_cwd(), job.overrides.task[-1]]
            Path(job.runtime.output_dir, "seen.json").write_text(json.dumps(seen))
            logging.getLogger("seeing").debug("seen by the network")
            if "seed=13" in job.overrides.task:
                raise ValueError("unlucky")
        return super().forward(x)

@register(ModelInfo(name="seeing", model_source="physical", task_type="physical",
                    physical_data_point_classification=True, is_fx_traceable=False))
def seeing(*, num_features, num_classes):
    return Seeing(num_features, num_classes)
"""
LAUNCHERS = {"jsc": ["hydra.launcher.num_workers=1"], "basic": ["hydra/launcher=basic"]}


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides for a network that notes what it sees of its job, and a callback that notes what it is told."""
    from jsc.models import registry

    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    for name, text in (("seeing", SEEING), ("hooks", HOOKS)):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(text)
    return [
        *("plugins=[seeing]", "model.name=seeing", "engine=torch", *QUICK, "trainer.max_epochs=1"),
        *("+hydra.callbacks.notes._target_=hooks.Notes", "+hydra.callbacks.notes.file=notes"),
        *("+hydra.job.env_set.OF_JOB=mine", "hydra.verbose=seeing"),
    ]


def notes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


def test_plugins_are_found() -> None:
    launchers = [plugin.__name__ for plugin in Plugins.instance().discover(Launcher)]
    assert {"JscLauncher", "SlurmLauncher", "RayLauncher"} <= set(launchers)
    assert "ClusterLauncher" not in launchers
    assert {"JscSweeper", "JscSearch"} <= {plugin.__name__ for plugin in Plugins.instance().discover(Sweeper)}


@pytest.mark.parametrize("chdir", [True, False])
def test_one_run(command: Command, hooked: list[str], tmp_path: Path, chdir: bool) -> None:
    folder = tmp_path / "runs" / "mine"
    assert command("jsc.train", *hooked, "hydra.run.dir=runs/mine", f"hydra.job.chdir={chdir}", "seed=4") == 0
    seen = [str(folder if chdir else tmp_path), "mine", str(tmp_path), "seed=4"]
    assert json.loads((folder / "seen.json").read_text()) == seen
    told = notes(tmp_path)
    assert [note["what"] for note in told] == ["run starts", "job starts", "job ended", "run ended"]
    assert told[1]["task"] == "jsc.train"
    assert told[2]["output"] == str(folder)
    assert [note["status"] for note in told[2:]] == ["COMPLETED"] * 2
    assert "seen by the network" in (folder / "train.log").read_text()
    assert_hydras_files(folder, seed=4)


def assert_hydras_files(folder: Path, seed: int) -> None:
    config, hydra, overrides = (
        yaml.safe_load((folder / ".hydra" / f"{name}.yaml").read_text()) for name in ("config", "hydra", "overrides")
    )
    assert config["seed"] == seed
    assert set(hydra) == {"hydra"}
    assert hydra["hydra"]["overrides"]["task"] == overrides
    assert hydra["hydra"]["runtime"]["output_dir"] == str(folder)
    assert f"seed={seed}" in overrides
    assert not any(override.startswith("hydra.") for override in overrides)


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("chdir", [True, False])
def test_a_sweep(command: Command, hooked: list[str], tmp_path: Path, chdir: bool, launcher: str) -> None:
    place = ["hydra.sweep.dir=here", "hydra.sweep.subdir=n${hydra:job.num}/${seed}", f"hydra.job.chdir={chdir}"]
    assert command("jsc.train", "-m", *hooked, *place, *LAUNCHERS[launcher], "seed=12,13") == 1
    folders = [tmp_path / "here" / "n0" / "12", tmp_path / "here" / "n1" / "13"]
    assert yaml.safe_load((tmp_path / "here" / "multirun.yaml").read_text())["hydra"]["job"]["chdir"] == chdir
    told = notes(tmp_path)
    head = told[0]["process"]
    assert [note["what"] for note in told] == ["sweep starts", *["job starts", "job ended"] * 2]
    for num, (seed, folder) in enumerate(zip((12, 13), folders, strict=True)):
        where = str(folder if chdir else tmp_path)
        assert json.loads((folder / "seen.json").read_text()) == [where, "mine", str(tmp_path), f"seed={seed}"]
        assert (folder / "train.log").read_text().count("seen by the network") >= 1
        assert_hydras_files(folder, seed)
        start, end = told[1 + 2 * num : 3 + 2 * num]
        assert (start["num"], start["seed"], start["task"]) == (num, seed, "jsc.train")
        assert (end["seed"], end["name"], end["output"]) == (seed, "train", str(folder))
        assert Path(end["folder"]).absolute() == Path(where)
        assert end["overrides"][-1] == f"seed={seed}"
        assert (start["process"] == head) == (launcher == "basic")
    assert told[2]["status"] == "COMPLETED"
    assert told[2]["value"] == read_result(folders[0]).val_loss
    assert told[4]["status"] == "FAILED"
    assert "JobFailed" in told[4]["value"]


def test_a_sweep_that_ends_well_is_told(command: Command, hooked: list[str], tmp_path: Path) -> None:
    assert command("jsc.train", "-m", *hooked, "hydra.sweep.dir=s", "seed=1", "hydra.output_subdir=null") == 0
    assert [note["what"] for note in notes(tmp_path)] == ["sweep starts", "job starts", "job ended", "sweep ended"]
    [folder] = (tmp_path / "s").glob("0_*")
    assert not (folder / ".hydra").exists()


def test_a_callback_that_cannot_be_sent_is_refused(
    command: Command, hooked: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["+hydra.callbacks.bad._target_=hooks.Unsendable", "hydra.sweep.dir=s", "seed=1,2"]
    assert command("jsc.train", "-m", *hooked, *words) == 2
    assert "hydra.callbacks: cannot pickle" in capfd.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(("logging", "has_log"), [("default", True), ("none", False)])
def test_a_job_logs_as_its_user_says(command: Command, tmp_path: Path, logging: str, has_log: bool) -> None:
    words = [*QUICK, "trainer.max_epochs=1", f"hydra/job_logging={logging}", "hydra.sweep.dir=s", "seed=1"]
    assert command("jsc.train", "-m", *words) == 0
    [log_file] = (tmp_path / "s").glob("0_*/train.log")
    assert log_file.read_text().count("[jsc.run.training][INFO] - engine: fused") == has_log


def test_settings_of_a_users_own_folder_reach_the_workers(command: Command, tmp_path: Path) -> None:
    (tmp_path / "my_conf" / "experiment").mkdir(parents=True)
    mine = "# @package _global_\noptimizer: {lr: 0.125}\nhydra: {sweeper: {params: {seed: '1,2'}}}\n"
    (tmp_path / "my_conf" / "experiment" / "mine.yaml").write_text(mine)
    words = [*QUICK, "trainer.max_epochs=1", "experiment=mine", "hydra.sweep.dir=s"]
    assert command("jsc.train", "-m", "--config-dir", "my_conf", *words) == 0
    results = [read_result(path.parent) for path in (tmp_path / "s").glob("*/result.json")]
    assert sorted((result.seed, result.lr) for result in results) == [(1, 0.125), (2, 0.125)]


def test_jobs_go_in_batches_of_a_given_size(command: Command, tmp_path: Path) -> None:
    words = [*QUICK, "trainer.max_epochs=1", "seed=range(3)", "hydra.sweeper.max_batch_size=2", "hydra.sweep.dir=s"]
    assert command("jsc.train", "-m", *words) == 0
    assert sorted(path.parent.name[0] for path in (tmp_path / "s").glob("*/result.json")) == ["0", "1", "2"]
    plan = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert [job["num"] for job in plan["jobs"]] == [0, 1, 2]
    assert command("jsc.train", "-m", "seed=1,2", "hydra.sweeper.max_batch_size=0", "hydra.sweep.dir=t") == 2
