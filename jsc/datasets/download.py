"""A large file fetched over HTTP: a progress bar, new tries where they can help, and a whole file or none."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from jsc.datasets.cache import make_once
from jsc.errors import DatasetError

RETRY_SECONDS = 2.0

_log = logging.getLogger(__name__)


def download(
    url: str, target: Path, *, timeout_seconds: float, num_tries: int, check: Callable[[Path], None], by_hand: str
) -> None:
    """Fetch `url` into `target`, unless it is there.

    `timeout_seconds` is for the connection and for each wait for more bytes. `check` raises DatasetError on a file that
    cannot be the right one. `by_hand` ends each message: what to do where there is no network. Raises DatasetError.
    """

    def fetch(partial: Path) -> None:
        _fetch(url, partial, timeout_seconds, num_tries, by_hand)
        try:
            check(partial)
        except DatasetError as error:
            raise DatasetError(f"{url} did not send the data: {error}. {by_hand}") from error

    make_once(target, fetch)


def _fetch(url: str, partial: Path, timeout_seconds: float, num_tries: int, by_hand: str) -> None:
    import pooch  # here: with requests, a third of a second that only a download needs
    import requests

    host = urlsplit(url).netloc
    for tries_left in reversed(range(num_tries)):
        _log.info("downloading %s", url)
        fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20, timeout=timeout_seconds)
        try:
            fetch(url, str(partial), None)
            return
        except requests.HTTPError as error:
            what = f"{host} answered HTTP {error}"
            can_pass = error.response is None or error.response.status_code not in range(400, 500)
        except requests.RequestException as error:
            what, can_pass = _describe(error, host, timeout_seconds), True
        if tries_left == 0 or not can_pass:
            raise DatasetError(f"could not download {url}: {what}. {by_hand}")
        _log.warning("%s; trying again (%d left)", what, tries_left)
        time.sleep(RETRY_SECONDS)


def _describe(error: Exception, host: str, timeout_seconds: float) -> str:
    import requests
    import urllib3

    inner = error.args[0] if error.args else None
    if isinstance(error, requests.Timeout) or isinstance(inner, urllib3.exceptions.ReadTimeoutError):
        return f"{host} sent nothing for {timeout_seconds:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError) or isinstance(
        inner, urllib3.exceptions.ProtocolError
    ):
        return f"{host} broke the transfer off ({inner})"
    if isinstance(error, requests.ConnectionError):
        reason = getattr(inner, "reason", inner)  # urllib3 wraps the cause in a count of its own tries
        return f"no connection to {host} ({str(reason).rpartition(': ')[2]})"
    return str(error)
