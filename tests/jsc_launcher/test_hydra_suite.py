"""Hydra's own contract for launchers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import version
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.test_utils.launcher_common_tests import IntegrationTestSuite, LauncherTestSuite

from tests.jsc_launcher.clusters import require_slurm

# Hydra's test applications are of an earlier version of its interface, and say so.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:(?s).*Future Hydra versions will no longer change working directory"),
    pytest.mark.filterwarnings("ignore:(?s).*The version_base parameter is not specified"),
]


def test_they_are_found() -> None:
    found = [plugin.__name__ for plugin in Plugins.instance().discover(Launcher)]
    assert {"JscLauncher", "SlurmLauncher", "RayLauncher"} <= set(found)
    assert "ClusterLauncher" not in found


@pytest.mark.parametrize(("launcher_name", "overrides"), [("jsc", []), ("submitit_slurm", [])])
class TestLauncher(LauncherTestSuite):
    @pytest.fixture(autouse=True)
    def _slurm(self, launcher_name: str) -> None:
        if launcher_name == "submitit_slurm":
            require_slurm()

    @pytest.fixture(autouse=True)
    def _hydra_as_the_suite_knows_it(self) -> Iterator[None]:
        """The suite expects the behaviour of Hydra 1.1; other tests of this process have asked for that of 1.3."""
        before = version.VersionBase.instance().version_base
        version.VersionBase.instance().setbase(version._get_version("1.1"))
        yield
        version.VersionBase.instance().version_base = before


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=jsc", "hydra.launcher.num_workers=1"])]
)
class TestIntegration(IntegrationTestSuite):
    @pytest.fixture(autouse=True)
    def _applications_find_the_plugin(self, monkeypatch: pytest.MonkeyPatch) -> None:
        root = Path(__file__).parents[2]
        monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
