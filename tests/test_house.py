"""The house of the design: imports point down, every file is the noun that it defines, YAML holds the defaults."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENTRY, TASK, DATASETS, MODELS, SIMULATION, RESULTS = 5, 4, 3, 2, 1, 0

ROOMS = {
    "jsc.results": RESULTS,
    "jsc.reporting": SIMULATION,
    "jsc.simulation": SIMULATION,
    "jsc.models": MODELS,
    "jsc.engine": MODELS,
    "jsc.datasets": DATASETS,
    "jsc.task": TASK,
    "jsc.fused_loop": TASK,
    "jsc.checkpoint": TASK,
    "jsc.console": TASK,
    "jsc.event_file": TASK,
    "jsc.interruption": TASK,
    "jsc.lightning_noise": TASK,
    "jsc.progress": TASK,
    "jsc.recorder": TASK,
    "jsc.schedule": TASK,
    "jsc.scoring": TASK,
    "jsc.testing": TASK,
    "jsc": ENTRY,  # what is left at the top: the entries, and the door that they share
    "hydra_plugins.jsc_launcher": ENTRY,
    "hydra_plugins.jsc_search": ENTRY,
}
PLUGINS = ("hydra_plugins.jsc_launcher", "hydra_plugins.jsc_search")  # they start what is at the top
FILES = sorted([*ROOT.glob("jsc/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    if module.endswith(".__main__"):
        return "jsc"
    return max((room for room in ROOMS if module == room or module.startswith(f"{room}.")), key=len)


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (ROOT / Path(*inner.split("."))).with_suffix(".py").exists() or (
                    ROOT / Path(*inner.split("."))
                ).is_dir()
                yield inner if is_module else str(node.module)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    own = room_of(module_name(path))
    for imported in imports_of(path):
        if imported.split(".")[0] not in ("jsc", "hydra_plugins") or imported == "jsc":
            continue
        other = room_of(imported)
        is_sibling = own == other or {ROOMS[own], ROOMS[other]} == {TASK} or own in PLUGINS
        assert is_sibling or ROOMS[other] < ROOMS[own], f"{module_name(path)} (floor {ROOMS[own]}) imports {imported}"


def test_a_room_that_imports_upwards_is_caught(tmp_path: Path) -> None:
    guilty = tmp_path / "guilty.py"
    guilty.write_text("from jsc.datasets import prepare\nimport jsc.task\nfrom jsc import train\n")
    assert [ROOMS[room_of(name)] for name in imports_of(guilty)] == [DATASETS, TASK, ENTRY]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_are_named_for_what_they_define(path: Path) -> None:
    assert path.stem not in ("utils", "helpers", "common", "base", "misc")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_the_door_sees_hydras_config(path: Path) -> None:
    allowed = {"jsc.checks", "jsc.command", "jsc.composer", "jsc.explanation", "jsc.resume", "jsc.train"}
    if module_name(path) not in allowed and room_of(module_name(path)) not in PLUGINS:
        assert "DictConfig" not in path.read_text()


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
