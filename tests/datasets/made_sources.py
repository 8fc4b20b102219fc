"""Sources with every argument but the tested ones set as the YAML files set them, and short waits."""

from pathlib import Path

from jsc.datasets import CernboxJets, JetFile


def cernbox(**changes: object) -> CernboxJets:
    values = {"path": None, "md5": None, "url": "http://127.0.0.1:9/", "timeout_seconds": 5.0, "num_tries": 2}
    return CernboxJets(**{**values, **changes})  # type: ignore[arg-type]


def jet_file(path: Path | str | None, **changes: object) -> JetFile:
    unset = dict.fromkeys(("md5", "features", "classes", "class_column", "variant"))
    return JetFile(**{**unset, "path": path and str(path), "deduplicate": False, **changes})  # type: ignore[arg-type]
