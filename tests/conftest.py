import functools
import logging
import os
import runpy
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from jsc.cli.command import check, compose
from jsc.cli.composer import Composer
from jsc.cli.run_names import run_id
from jsc.cli.settings import TrainSettings
from jsc.results import RunResult

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; tests interrupt what they start
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # tests run side by side: threads of several would wait for each other's cores

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

QUICK = ("trainer.max_epochs=2", "trainer.limit_train_batches=30", "dataset.batch_size=64")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: at the end, one worker would wait minutes for another's."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def a_process_as_it_was() -> Iterator[None]:
    """A run sets torch's threads, and logging; the next test starts without."""
    threads, root = torch.get_num_threads(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    torch.set_num_threads(threads)
    logging.captureWarnings(False)
    for handler in set(root.handlers) - set(handlers):
        if isinstance(handler, logging.FileHandler):
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("pytorch_lightning").setLevel(logging.NOTSET)


def settings_of(*overrides: str) -> TrainSettings:
    return check(composer()(list(overrides)), TrainSettings)


@functools.cache
def composer() -> Composer:
    """Hundreds of tests ask for settings that differ in values alone."""
    config = compose("train", [])
    groups = config.hydra.runtime.choices
    return Composer(lambda overrides: compose("train", overrides), lambda key: key in groups)


@pytest.fixture
def quick_run(tmp_path: Path) -> Callable[..., RunResult]:
    """Train for two short epochs with further overrides, in a folder of this test's."""
    from jsc.run.training import train

    def run(*overrides: str, folder: Path = tmp_path / "run", resume_from: Path | None = None) -> RunResult:
        folder.mkdir(exist_ok=True, parents=True)
        settings = settings_of(*QUICK, *overrides)
        return train(settings, folder=folder, command="python -m jsc.train", resume_from=resume_from)

    return run


Command = Callable[..., int]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`python -m MODULE WORDS` in this process, from a folder of this test's; returns the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def run(module: str, *words: str) -> int:
        monkeypatch.setattr(sys, "argv", [module, *words])
        GlobalHydra.instance().clear()
        run_id.cache_clear()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'jsc.*' found in sys.modules", RuntimeWarning)
            try:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            except SystemExit as ended:
                return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        return 0

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window, with its logs kept."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, of the extra `test`")
    from selenium.webdriver.chrome.service import Service

    binary = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        chromium = webdriver.Chrome(options=options, service=Service(driver, log_output=os.devnull))
        yield chromium
        chromium.quit()
