"""The house of the design: imports point down and never in a circle, every file is the noun that it defines."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = {
    "jsc.errors": 0,
    "jsc.results": 1,
    "jsc.simulation": 2,
    "jsc.reporting": 2,
    "jsc.engine": 3,
    "jsc.hardware": 3,
    "jsc.datasets": 4,
    "jsc.models": 4,
    "jsc.quantization": 4,
    "jsc.cli": 5,
    "jsc.fit": 6,
    "jsc.run": 7,
    "jsc.sweep": 8,
    "jsc": 9,  # what is left at the top: the entries
    "hydra_plugins": 10,  # they run the entries' own tasks
}
FILES = sorted([*ROOT.glob("jsc/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")])
SEES_HYDRAS_CONFIG = ("jsc.cli", "jsc", "hydra_plugins", "jsc.sweep")  # everyone else takes plain values


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """An entry of a room (`python -m jsc.models`) stands on the entries' floor."""
    if module.endswith(".__main__"):
        return "jsc"
    return max((room for room in FLOORS if module == room or module.startswith(f"{room}.")), key=len)


def imports_of(path: Path) -> Iterator[str]:
    """The modules of this project that a file imports, be it late or for types alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if is_ours(inner):
                    yield inner if is_module(inner) else str(node.module)


def is_ours(module: str) -> bool:
    return module.split(".")[0] in ("jsc", "hydra_plugins")


def is_module(module: str) -> bool:
    path = ROOT / Path(*module.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def upward_imports(module: str, path: Path) -> list[str]:
    """Those of another room that is not strictly below; the bare package `jsc` holds its version alone."""
    own = room_of(module)
    others = [name for name in imports_of(path) if room_of(name) != own and name != "jsc"]
    return [f"{module} imports {name}" for name in others if FLOORS[room_of(name)] >= FLOORS[own]]


def circle_in(imports: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def forbidden_config(module: str, path: Path) -> bool:
    """Whether a file that should take plain values sees Hydra's configuration."""
    return room_of(module) not in SEES_HYDRAS_CONFIG and "DictConfig" in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    assert upward_imports(module_name(path), path) == []


def test_no_imports_go_in_a_circle() -> None:
    assert circle_in({module_name(p): set(imports_of(p)) - {"jsc", module_name(p)} for p in FILES}) == []


def test_a_planted_violation_of_each_rule_is_found(tmp_path: Path) -> None:
    guilty = tmp_path / "guilty.py"
    guilty.write_text(
        "from jsc.datasets import prepare\nfrom omegaconf import DictConfig\n\ndef f():\n    import jsc.train\n"
    )
    assert upward_imports("jsc.models.guilty", guilty) == [
        "jsc.models.guilty imports jsc.datasets",
        "jsc.models.guilty imports jsc.train",
    ]
    assert upward_imports("jsc.fit.guilty", guilty) == ["jsc.fit.guilty imports jsc.train"]
    assert forbidden_config("jsc.fit.guilty", guilty)
    assert not forbidden_config("jsc.cli.guilty", guilty)
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})


def test_every_room_is_a_folder_and_nothing_else_lies_at_the_top() -> None:
    entries = {"__init__", "errors", "lab", "report", "results", "simulate", "test", "train"}
    assert {path.stem for path in (ROOT / "jsc").glob("*.py")} == entries
    folders = {path.parent.name for path in (ROOT / "jsc").glob("*/__init__.py")}
    assert {f"jsc.{name}" for name in folders} == {room for room in FLOORS if room.startswith("jsc.")} - {
        "jsc.results",
        "jsc.errors",
    }


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_is_named_for_what_it_defines_and_says_what_it_is_for(path: Path) -> None:
    assert path.stem not in ("utils", "helpers", "common", "base", "misc")
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_the_door_sees_hydras_config(path: Path) -> None:
    assert not forbidden_config(module_name(path), path)
