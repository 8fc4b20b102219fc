"""Takes the README's picture of a sweep in TensorBoard: python -m benchmarks.screenshot

Trains the README's sweep in a temporary folder, serves it on this machine alone, and photographs it with Debian's
Chromium and ChromeDriver (apt-get install chromium chromium-driver; selenium is in the [test] extra).
"""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

ROOT = Path(__file__).parents[1]
SWEEP = ["-m", "jsc.train", "-m", "model=jsc_tiny", "optimizer.lr=1e-1,1e-3,1e-5"]


def browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,760",
    ):  # fmt: skip
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def main(target: Path) -> None:
    """Write the picture to `target`."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        subprocess.run([sys.executable, *SWEEP], cwd=folder, check=True, env={"PYTHONPATH": str(ROOT), "HOME": folder})
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        [sweep] = Path(folder).glob("outputs/sweeps/*/*")
        board = ["-m", "tensorboard.main", "--logdir", str(sweep), "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen([sys.executable, *board])
        driver = browser()
        try:
            time.sleep(15)  # TensorBoard reads the runs
            driver.get(f"http://127.0.0.1:{port}/?tagFilter=val_acc_epoch%7Ctrain_acc_step&smoothing=0#timeseries")
            time.sleep(10)  # and draws them
            driver.find_element(By.XPATH, "//button[contains(., 'Settings')]").click()  # closes them
            time.sleep(3)
            driver.save_screenshot(str(target))
        finally:
            driver.quit()
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(ROOT / "docs" / "tensorboard.png")
