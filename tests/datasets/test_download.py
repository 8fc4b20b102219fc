import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from local_server import Server, sends
from made_sources import cernbox

from jsc.datasets import DatasetError, load_jets
from jsc.datasets.cernbox import FILE_NAME


@pytest.fixture
def content(cernbox_rows, write_cernbox) -> bytes:
    return write_cernbox(cernbox_rows).read_bytes()


def left_in(cache: Path) -> list[str]:
    return sorted(p.name for p in (cache / "downloads").iterdir() if p.suffix != ".lock")


def test_a_file_is_fetched_once(server: Server, content: bytes, cache: Path) -> None:
    server.answers = [sends(content)]
    source = cernbox(url=server.url, md5=hashlib.md5(content, usedforsecurity=False).hexdigest())
    assert len(load_jets(source).labels_N) == len(load_jets(source).labels_N) == 200
    assert server.paths == ["/download"]
    assert (cache / "downloads" / FILE_NAME).read_bytes() == content
    assert left_in(cache) == [FILE_NAME]


def test_a_terminal_sees_the_progress(
    server: Server, content: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [sends(content)]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    cernbox(url=server.url).locate()
    assert "100%" in capsys.readouterr().err


def test_a_file_put_in_place_by_hand_is_not_fetched(content: bytes, cache: Path) -> None:
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / FILE_NAME).write_bytes(content)
    assert len(cernbox().read().labels_N) == 200


@pytest.mark.parametrize("status", [500, 503])
def test_a_passing_fault_is_tried_again(server: Server, content: bytes, status: int) -> None:
    server.answers = [sends(b"busy", status=status), sends(content)]
    assert len(cernbox(url=server.url).read().labels_N) == 200


def test_a_broken_transfer_is_tried_again(server: Server, content: bytes) -> None:
    server.answers = [sends(content[:-100], length=len(content)), sends(content)]
    assert len(cernbox(url=server.url).read().labels_N) == 200


def hangs(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"\x89HDF")
    handler.wfile.flush()
    threading.Event().wait(0.6)


@pytest.mark.parametrize(
    ("answer", "message", "num_requests"),
    [
        (sends(b"", status=404), "answered HTTP 404", 1),
        (sends(b"", status=403), "answered HTTP 403", 1),
        (sends(b"", status=500), "answered HTTP 500", 2),
        (hangs, "sent nothing for 0.3 s", 2),
        (lambda _: threading.Event().wait(0.6), "sent nothing for 0.3 s", 2),
        (sends(b"\x89HDF", length=1000), "broke the transfer off", 2),
        (sends(b"<!DOCTYPE html><html>Log in"), "did not send the data: .*not an HDF5 file but a web page", 1),
        (sends(b"PK\x03\x04 an archive"), "not an HDF5 file but something else; it begins with", 1),
        (sends(b""), "not an HDF5 file", 1),
        ("half", "the HDF5 file is cut short or damaged", 1),
    ],
)
def test_each_fault_is_named_and_leaves_nothing(
    server: Server, content: bytes, cache: Path, answer, message: str, num_requests: int
) -> None:
    server.answers = [sends(content[: len(content) // 2], length=-1) if answer == "half" else answer]
    with pytest.raises(DatasetError, match=message) as raised:
        load_jets(cernbox(url=server.url, timeout_seconds=0.3))
    assert len(server.paths) == num_requests
    assert left_in(cache) == []
    assert f"put the file there by hand, as {cache / 'downloads' / FILE_NAME}" in str(raised.value)
    assert "dataset.path=FILE" in str(raised.value)


def test_no_network_is_named(cache: Path, server: Server) -> None:
    server.stop()  # its port refuses connections now
    with pytest.raises(DatasetError, match=r"no connection to 127\.0\.0\.1:\d+ \(.*Connection refused"):
        cernbox(url=server.url).read()
    assert left_in(cache) == []


def test_a_whole_file_of_another_sum_is_kept_and_can_be_accepted(server: Server, content: bytes) -> None:
    server.answers = [sends(content)]
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with pytest.raises(DatasetError, match=f"say dataset.md5={md5}"):
        cernbox(url=server.url, md5="0" * 32).read()
    assert len(cernbox(url=server.url, md5=md5).read().labels_N) == 200
    assert len(server.paths) == 1


def test_a_full_disk_is_named_and_leaves_nothing(server: Server, content: bytes, cache: Path) -> None:
    server.answers = [sends(content)]
    code = (
        "import resource, sys, jsc.datasets as d\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        f"source = d.CernboxJets(path=None, md5=None, url={server.url!r}, timeout_seconds=5, num_tries=1)\n"
        "try: source.read()\n"
        "except d.DatasetError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert f"the cache folder {cache} cannot be used: [Errno 27] File too large" in done.stdout
    assert "JSC_DATA_DIR=FOLDER" in done.stdout
    assert left_in(cache) == []


def test_a_cache_folder_that_is_a_file_is_named(cache: Path) -> None:
    cache.write_text("in the way")
    with pytest.raises(DatasetError, match=r"the cache folder .*cache cannot be used: .*JSC_DATA_DIR=FOLDER"):
        cernbox().read()
    assert cache.read_text() == "in the way"
