import importlib
import inspect
from collections.abc import Iterator, Sequence

import hydra
import pytest
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from jsc.cli.command import CONFIG_FOLDER
from jsc.cli.composer import Composer, job_composer


@pytest.fixture
def loader() -> Iterator[ConfigLoader]:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3", job_name="train"):
        yield GlobalHydra.instance().config_loader()


@pytest.fixture
def master(loader: ConfigLoader) -> DictConfig:
    return loader.load_configuration("train", ["hydra.verbose=true", "seed=0,1"], run_mode=RunMode.MULTIRUN)


def composed(config: DictConfig) -> tuple[str, object]:
    run_id = OmegaConf.select(config, "hydra.run.dir")  # drawn once a sweep
    return OmegaConf.to_yaml(config), run_id


def test_a_copy_with_other_values_is_what_hydra_composes(loader: ConfigLoader, master: DictConfig) -> None:
    whole: list[Sequence[str]] = []

    def by_hydra(words: list[str]) -> DictConfig:
        whole.append(words)
        return loader.load_sweep_config(master, words)

    composer = Composer(by_hydra, lambda key: bool(loader.get_group_options(key)))
    jobs = [
        ["model=jsc_tiny", "optimizer.lr=0.1", "seed=0", "+model.options.width=8"],
        ["model=jsc_tiny", "optimizer.lr=1e-5", "seed=17", "+model.options.width=null"],
        ["model=jsc_tiny", "optimizer.lr=1", "seed=1", "+model.options.width='a b'"],
        ["model=jsc_toy", "optimizer.lr=0.1", "seed=0"],
        ["model=jsc_toy", "seed=0", "optimizer.lr=0.2"],
        ["plugins=[a]", "seed=0"],
        ["plugins=[b]", "seed=0"],
        ["scheduler=cosine", "trainer.max_epochs=3"],
        ["scheduler=cosine", "trainer.max_epochs=30"],
        ["~logger", "seed=0"],
        ["~logger", "seed=1"],
        ["sweep.name=a", "model.name=${sweep.name}"],
        ["sweep.name=b", "model.name=${sweep.name}"],
        ["optimizer={lr: 1}", "optimizer.lr=2"],
        ["optimizer={lr: 1}", "optimizer.lr=3"],
    ]
    for job in jobs:
        assert composed(composer(job)) == composed(loader.load_sweep_config(master, job))
    assert whole == [jobs[i] for i in (0, 3, 4, 5, 6, 7, 9, 11, 13)]


@pytest.mark.parametrize("wrong", ["nothing=1", "trainer.max_epoch=2", "seed.deep=1"])
def test_errors_are_hydras(loader: ConfigLoader, master: DictConfig, wrong: str) -> None:
    with pytest.raises(HydraException) as expected:
        loader.load_sweep_config(master, [wrong])
    composer = job_composer(loader, master)
    for _ in range(2):
        with pytest.raises(HydraException) as got:
            composer([wrong])
        assert str(got.value) == str(expected.value)


def test_what_is_of_the_sweep_is_not_of_its_jobs(loader: ConfigLoader, master: DictConfig) -> None:
    expected = composed(loader.load_sweep_config(master, ["seed=3"]))
    composer = job_composer(loader, master)
    assert composed(composer(["seed=3", "sweep.resume=somewhere"])) == expected
    assert composed(composer(["sweep.name=x", "seed=3"])) == expected


def test_hydra_still_has_what_the_composer_reaches_for() -> None:
    """A canary: `jsc/cli/hydra_internals.py` says what it saves."""
    internals = importlib.import_module("hydra._internal.config_loader_impl")
    told = f"hydra-core {hydra.__version__} has no {internals.__name__}.get_overrides_dirname as 1.3.8 has it"
    assert hasattr(internals, "get_overrides_dirname"), told
    names = list(inspect.signature(internals.get_overrides_dirname).parameters)
    assert names == ["overrides", "exclude_keys", "item_sep", "kv_sep"], told
