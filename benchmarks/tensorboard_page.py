"""TensorBoard's HParams page in a browser: served on this machine alone, read and worked as its reader would."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.remote.webelement import WebElement

# The page's parts lie in shadow trees, which selectors do not enter.
_DEEP = """
function* deep(node) {
  yield node;
  if (node.shadowRoot) yield* deep(node.shadowRoot);
  for (const child of node.childNodes) yield* deep(child);
}
const find = (root, tag, wanted) => [...deep(root)].find(e => e.localName === tag && wanted(e));
const text = e => e.textContent.trim();
"""
_ROWS = """
const grid = find(document.body, 'vaadin-grid', g => g.items && g.items.length);
if (!grid) return [];
const inOrder = (elements, side) => [...elements].sort(
  (a, b) => a.getBoundingClientRect()[side] - b.getBoundingClientRect()[side]);
const cells = (row, tag) => inOrder(row.querySelectorAll(tag), 'left').map(
  c => c.querySelector('slot').assignedNodes().map(text).join(''));
const head = inOrder(grid.shadowRoot.querySelectorAll('#header tr:not([hidden])'), 'top').map(r => cells(r, 'th'));
const body = inOrder(grid.shadowRoot.querySelectorAll('#items tr:not([hidden])'), 'top').map(r => cells(r, 'td'));
return head.concat(body);
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of TensorBoard over `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(port), "TensorBoard did not start")
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait()


def open_hparams(driver: Chrome, address: str, num_rows: int) -> None:
    """Load the page until it shows so many runs: TensorBoard reads them in the background."""

    def shows_all() -> bool:
        driver.get(f"{address}?again={time.monotonic()}#hparams")
        wait_for(lambda: rows(driver), "the HParams page stayed empty")
        return len(rows(driver)) == num_rows

    wait_for(shows_all, f"the HParams page did not show {num_rows} runs")


def rows(driver: Chrome) -> list[dict[str, str]]:
    """What the table shows, top to bottom, by the words over its columns. Rows beyond the window are not there."""
    lines: list[list[str]] = driver.execute_script(_DEEP + _ROWS)
    if not lines:
        return []
    head, *body = lines
    return [dict(zip(head[::-1], line[::-1], strict=False)) for line in body]  # a row begins with a hidden cell


def choose(driver: Chrome, label: str, item: str) -> None:
    """Open the list beside the table that is called `label` and take an item."""
    menu = _find(driver, "paper-dropdown-menu", "e => e.label === arguments[0]", label)
    _click(driver, menu)
    _click(driver, _find(driver, "paper-item", "e => text(e) === arguments[0]", item, menu))


def untick(driver: Chrome, column: str) -> None:
    """Take a column out of the table."""
    _click(driver, _checkbox(driver, column))


def show(driver: Chrome, column: str) -> None:
    """Scroll the list of columns to this one."""
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", _checkbox(driver, column))


def wait_for(condition: Any, what: str, seconds: float = 120) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.2)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _checkbox(driver: Chrome, column: str) -> WebElement:
    return _find(driver, "paper-checkbox", "e => text(e) === arguments[0] && e.checked", column)


def _find(driver: Chrome, tag: str, wanted: str, word: str, root: WebElement | None = None) -> WebElement:
    script = f"{_DEEP} return find(arguments[1] || document.body, '{tag}', {wanted});"
    found: WebElement = driver.execute_script(script, word, root)
    return found


def _click(driver: Chrome, element: WebElement) -> None:
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    time.sleep(0.7)  # lists unfold
    element.click()
    time.sleep(0.3)
