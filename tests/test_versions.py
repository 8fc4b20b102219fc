"""What jsc takes of another package beside its public names is bounded: the next version may not have it."""

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
NAMES = {"hydra": "hydra-core", "lightning": "pytorch-lightning", "lightning_utilities": "lightning-utilities"}


def required() -> dict[str, Requirement]:
    setup = configparser.ConfigParser(comment_prefixes="#", inline_comment_prefixes=None)
    setup.read(ROOT / "setup.cfg")
    lines = [line for line in setup["options"]["install_requires"].split("\n") if line]
    return {(requirement := Requirement(line)).name: requirement for line in lines}


def reached_into() -> list[str]:
    files = [*ROOT.glob("jsc/**/*_internals.py"), *ROOT.glob("hydra_plugins/**/*_internals.py")]
    packages = [file.stem.removesuffix("_internals").lstrip("_") for file in files]
    return sorted({"hydra-core", "numba", "pytorch-lightning", *(NAMES.get(name, name) for name in packages)})


@pytest.mark.parametrize("package", reached_into())
def test_what_is_reached_into_has_an_upper_bound(package: str) -> None:
    assert [bound for bound in required()[package].specifier if bound.operator == "<"]


def test_the_versions_that_jsc_is_tested_with_are_allowed() -> None:
    tested = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {name.lower(): version for name, version in tested.items()}
    wrong = [str(r) for r in required().values() if not r.specifier.contains(pinned[r.name.lower()])]
    assert wrong == []


def test_ci_trains_with_the_newest_versions_too() -> None:
    newest = (ROOT / ".ci" / "run").read_text().partition("newest() (")[2].partition("\n)")[0]
    assert "-c constraints.txt" not in newest
    assert "python -m jsc.train" in newest
