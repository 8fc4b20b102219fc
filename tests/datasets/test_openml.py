import hashlib
import importlib.util
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.datasets._openml as sklearn_openml
from local_server import Server, sends

from jsc.datasets import CLASS_NAMES, FEATURE_NAMES, DatasetError, OpenmlJets, load_jets

SORTED_CLASSES = ("g", "q", "t", "w", "z")  # the order that OpenML's header gives, and not ours


def openml(**changes: object) -> OpenmlJets:
    return OpenmlJets(**{"path": None, "timeout_seconds": 5.0, **changes})  # type: ignore[arg-type]


@pytest.fixture
def send_openml(server: Server, features, labels, monkeypatch: pytest.MonkeyPatch):
    """A server that answers as www.openml.org does: descriptions in JSON, the jets in ARFF, names without "j_"."""
    names = [name.removeprefix("j_") for name in FEATURE_NAMES]
    lines = ["@RELATION hls4ml_lhc_jets_hlf"]
    lines += [f"@ATTRIBUTE {name} REAL" for name in names]
    lines += [f"@ATTRIBUTE class {{{','.join(SORTED_CLASSES)}}}", "@DATA"]
    lines += [
        f"{','.join(repr(float(value)) for value in row)},{CLASS_NAMES[label]}"
        for row, label in zip(features, labels, strict=True)
    ]
    arff = "\n".join(lines).encode()
    monkeypatch.setattr(sklearn_openml, "time", SimpleNamespace(sleep=lambda _: None))  # between its tries
    host = server.url.removesuffix("/download")
    for constant, kind in (("_DATA_INFO", "data"), ("_DATA_FEATURES", "features"), ("_DATA_QUALITIES", "qualities")):
        monkeypatch.setattr(sklearn_openml, constant, f"{host}/{kind}/{{}}")
    described = [
        {"index": str(i), "name": name, "data_type": "numeric", "is_ignore": "false", "is_row_identifier": "false"}
        for i, name in enumerate(names)
    ]
    described.append({**described[0], "index": "16", "name": "class", "data_type": "nominal", "is_target": "true"})
    for feature in described:
        feature.setdefault("is_target", "false")
        feature["number_of_missing_values"] = "0"
    data = {
        "id": "42468",
        "name": "hls4ml_lhc_jets_hlf",
        "version": "1",
        "description": "Jets",
        "status": "active",
        "format": "ARFF",
        "file_id": "1",
        "url": f"{host}/jets.arff",
        "default_target_attribute": "class",
        "md5_checksum": hashlib.md5(arff, usedforsecurity=False).hexdigest(),
    }
    answers = {
        "/data/42468": {"data_set_description": data},
        "/features/42468": {"data_features": {"feature": described}},
        "/qualities/42468": {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": "200.0"}]}},
    }
    content = {path: json.dumps(answer).encode() for path, answer in answers.items()} | {"/jets.arff": arff}
    server.answers = [lambda handler: sends(content[handler.path])(handler)]
    return content


@pytest.mark.parametrize("has_pandas", [True, False])
def test_classes_are_mapped_by_name(
    server: Server, send_openml, features, labels, cache: Path, has_pandas: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_pandas:
        pytest.importorskip("pandas", reason="an optional extra, that only makes the fetch quicker")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    table = openml().read()
    np.testing.assert_array_equal(table.features_NF, features)
    np.testing.assert_array_equal(table.labels_N, labels)
    assert (table.feature_names, table.class_names, table.variant) == (FEATURE_NAMES, CLASS_NAMES, "openml")
    assert server.paths.count("/jets.arff") == 1
    num_requests = len(server.paths)
    assert load_jets(openml()).sha256 == table.sha256
    assert len(server.paths) == num_requests
    copied = (cache / "downloads" / "openml-42468.npz").rename(cache / "copied.npz")
    assert openml(path=str(copied)).read().sha256 == table.sha256


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (sends(b"", status=404), "HTTP Error 404"),
        (sends(b"", status=500), "HTTP Error 500"),
        (sends(b"<!DOCTYPE html>"), "Expecting value"),
        (lambda _: threading.Event().wait(0.6), "timed out"),
    ],
)
def test_each_fault_is_named_and_leaves_nothing(server: Server, send_openml, cache: Path, answer, message: str) -> None:
    server.answers = [answer]
    with pytest.raises(DatasetError, match=message) as raised:
        openml(timeout_seconds=0.3).read()
    assert f"to {cache / 'downloads' / 'openml-42468.npz'}, or say dataset.path=FILE" in str(raised.value)
    assert [p for p in (cache / "downloads").iterdir() if p.suffix != ".lock"] == []


def test_no_network_is_named(server: Server, send_openml) -> None:
    server.stop()
    with pytest.raises(DatasetError, match=r"could not fetch OpenML 42468: .*Connection refused"):
        openml().read()


def test_damaged_jets_are_refused(server: Server, send_openml) -> None:
    send_openml["/jets.arff"] = send_openml["/jets.arff"].replace(b",g\n", b",q\n")
    with pytest.raises(DatasetError, match="md5 checksum"):
        openml().read()


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DatasetError, match=r"pip install 'jsc\[openml\]'"):
        openml().read()


def test_a_timeout_that_cannot_be_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"dataset\.timeout_seconds=0: it must be above 0"):
        openml(timeout_seconds=0)


def test_a_path_to_nothing_is_named() -> None:
    with pytest.raises(DatasetError, match=r"gone\.npz: no such file; without dataset.path= it is fetched"):
        openml(path="gone.npz").locate()
