"""A sweep's jobs are composed once and checked before there is a folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode

from hydra_plugins.jsc_launcher._jobs import JobMaker
from jsc.cli.command import CONFIG_FOLDER
from jsc.errors import CommandError

Make = Callable[..., JobMaker]


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[Make]:
    """For a sweep's command in a folder of this test's."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3", job_name="train"):
        loader = GlobalHydra.instance().config_loader()

        def make(*overrides: str, elsewhere: bool = False, shares: bool = True) -> JobMaker:
            words = [f"hydra.sweep.dir={tmp_path / 's'}", *overrides]
            master = loader.load_configuration("train", words, RunMode.MULTIRUN)
            return JobMaker(master, loader, elsewhere=elsewhere, shares=shares)

        yield make


def test_jobs_are_composed_once_a_kind(maker: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[Any] = []
    load = ConfigLoader.__subclasses__()[0].load_sweep_config  # type: ignore[type-abstract]
    monkeypatch.setattr(
        ConfigLoader.__subclasses__()[0], "load_sweep_config", lambda *told: (composed.append(told), load(*told))[1]
    )
    jobs = [[f"model={model}", f"optimizer.lr={lr}"] for model in ("jsc_tiny", "jsc_toy") for lr in (0.1, 0.01, 0.001)]
    made = maker("optimizer.lr=0.1,0.01,0.001").make(jobs, first=4)
    assert len(composed) == 2
    assert [job.num for job in made] == list(range(4, 10))
    assert made[1].folder == tmp_path / "s" / "5_model=jsc_tiny,lr=0.01"
    assert made[1].command == "python -m jsc.train model=jsc_tiny optimizer.lr=0.01"
    assert made[1].settings.optimizer.lr == made[1].flat_settings["optimizer.lr"] == 0.01
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (["seed=-1"], ValueError, "greater than or equal to 0"),
        (["+sed=1"], CommandError, "there is no setting 'sed'. Did you mean seed"),
        (["trainer.max_epoch=1"], HydraException, "Could not override 'trainer.max_epoch'"),
        (["model.name=jsc-huge"], CommandError, "there is no model 'jsc-huge'"),
        (["loss.class_weights=[1]"], CommandError, "give 5 weights"),
        (["scheduler=step", "scheduler.gamma=-1"], CommandError, "learning rate is -0.001"),
    ],
)
def test_one_wrong_job_is_enough(maker: Make, job: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        maker().make([["seed=1"], ["seed=2"], job])


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_clusters_gpus_need_not_be_on_the_login_node(
    maker: Make, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    monkeypatch.setattr("jsc.run.assembly.CUDAAccelerator.is_available", lambda: False)
    monkeypatch.setattr("jsc.run.assembly.MPSAccelerator.is_available", lambda: False)
    make = maker(elsewhere=elsewhere).make
    if elsewhere:
        assert make([["trainer=gpu"]])[0].settings.trainer.accelerator == "gpu"
    else:
        with pytest.raises(CommandError, match="torch finds no GPU here"):
            make([["trainer=gpu"]])


@pytest.mark.parametrize(("shares", "is_shared"), [(True, True), (False, False)])
def test_jobs_that_begin_alike_have_a_key(maker: Make, shares: bool, is_shared: bool) -> None:
    lengths = [[f"trainer.max_epochs={n}"] for n in (1, 5)]
    made = maker(shares=shares).make([*lengths, ["seed=1"]])
    assert [job.share_key is not None for job in made] == [is_shared, is_shared, False]
    assert made[0].share_key == made[1].share_key
