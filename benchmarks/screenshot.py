"""Takes the README's pictures of TensorBoard: python -m benchmarks.screenshot

Trains the README's sweep and its search in a temporary folder, serves them on this machine alone, and photographs them
with Debian's Chromium and ChromeDriver (apt-get install chromium chromium-driver; selenium is in the [test] extra).
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from benchmarks.tensorboard_page import choose, open_hparams, served, show, untick

ROOT = Path(__file__).parents[1]
SWEEP = ["-m", "jsc.train", "-m", "model=jsc_tiny", "optimizer.lr=1e-1,1e-3,1e-5"]
SEARCH = ["-m", "jsc.train", "-m", "hparams_search=optuna"]
NUM_TRIALS = 30


def browser(width: int, height: int, scale: float) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", f"--window-size={width},{height}",
        f"--force-device-scale-factor={scale}",
    ):  # fmt: skip
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def train(words: list[str], folder: Path) -> Path:
    """The sweep's folder."""
    subprocess.run([sys.executable, *words], cwd=folder, check=True, env={"PYTHONPATH": str(ROOT), "HOME": str(folder)})
    return max(folder.glob("outputs/sweeps/*/*"), key=lambda path: path.stat().st_mtime)


def photograph_curves(address: str, target: Path) -> None:
    driver = browser(1280, 760, 1)
    try:
        time.sleep(15)  # TensorBoard reads the runs
        driver.get(f"{address}?tagFilter=val_acc_epoch%7Ctrain_acc_step&smoothing=0#timeseries")
        time.sleep(10)  # and draws them
        driver.find_element(By.XPATH, "//button[contains(., 'Settings')]").click()  # closes them
        time.sleep(3)
        driver.save_screenshot(str(target))
    finally:
        driver.quit()


def photograph_hparams(address: str, target: Path) -> None:
    driver = browser(1720, 1500, 0.76)
    try:
        open_hparams(driver, address, NUM_TRIALS)
        for column in ("model.name", "trainer.max_epochs"):  # the same in all; the width goes to the metrics
            untick(driver, column)
        choose(driver, "Sort by", "val_loss_epoch")
        choose(driver, "Direction", "Ascending")
        time.sleep(2)
        driver.set_window_size(1720, 860)
        show(driver, "dataset.batch_size")
        time.sleep(2)
        driver.save_screenshot(str(target))
    finally:
        driver.quit()


def main(folder: Path) -> None:
    """Write the pictures to `folder`."""
    for words, photograph, name in (
        (SWEEP, photograph_curves, "tensorboard.png"),
        (SEARCH, photograph_hparams, "hparams.png"),
    ):
        with tempfile.TemporaryDirectory() as scratch, served(train(words, Path(scratch))) as address:
            photograph(address, folder / name)


if __name__ == "__main__":
    main(ROOT / "docs")
