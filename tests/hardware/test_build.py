"""A circuit's folder: what is in it, whole or not at all, and what is left out where a tool is missing."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from jsc.errors import CommandError
from jsc.hardware import build as building
from jsc.hardware.build import build
from jsc.hardware.folder import whole_folder
from jsc.hardware.network import read_network
from jsc.hardware.synthesis import vivado_script
from tests.hardware.test_proof import OPTIONS, quiet, small_network

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog")


@needs_icarus
def test_what_a_folder_holds(tmp_path: Path) -> None:
    said: list[str] = []
    build(small_network(), tmp_path / "circuit", OPTIONS, None, said.append)
    folder = tmp_path / "circuit"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    verilog = {name for name in files if name.endswith(".v")}
    assert files - verilog == {
        *("network.json", "resources.json", "proof.json", "vivado.tcl", "hardware.md", "hardware.html"),
        *("verilog/interface.json", "vectors/inputs.hex", "vectors/logits.hex", "figures/pipeline.png"),
    }
    assert {"verilog/network.v", "vectors/testbench.v", "verilog/shift_adder.v"} <= verilog
    assert [path.name for path in tmp_path.iterdir()] == ["circuit"]
    net = read_network(folder / "network.json")
    resources = json.loads((folder / "resources.json").read_text())
    assert (resources["ebops"], resources["num_nonzero_weights"]) == (net.ebops, net.num_nonzero_weights)
    assert resources["circuit"]["backend"].startswith("da4ml ")
    interface = json.loads((folder / "verilog" / "interface.json").read_text())
    assert resources["circuit"]["latency_cycles"] == interface["latency_cycles"] > 0
    assert resources["synthesis"] is None
    assert any("vectors: Verilog (Icarus Verilog" in line for line in said)


@needs_icarus
def test_the_datasheet_says_what_was_proved_what_was_not_and_claims_no_time(tmp_path: Path) -> None:
    net = dataclasses.replace(small_network(), model="my-net", feature_names=("a", "b", "<c>", "d"))
    build(net, tmp_path / "circuit", OPTIONS, None, quiet)
    markdown, page = ((tmp_path / "circuit" / f"hardware.{kind}").read_text() for kind in ("md", "html"))
    for text in (markdown, page):
        for expected in ("my-net", "shift-and-add graph", "Icarus Verilog", "Not proved", "no data set was given"):
            assert expected in text
        assert "Resources were not counted" in text
        assert not re.search(r"\d (ns|nanoseconds|MHz)", text)
    assert "<c>" not in page
    assert page.count("data:image/svg+xml") == 2  # for light pages and for dark ones
    assert 'src="http' not in page


@needs_icarus
def test_the_vectors_can_be_run_again_by_the_command_that_the_datasheet_gives(tmp_path: Path) -> None:
    import subprocess

    build(small_network(), tmp_path / "circuit", OPTIONS, None, quiet)
    markdown = (tmp_path / "circuit" / "hardware.md").read_text()
    command = next(line for line in markdown.splitlines() if line.startswith("iverilog"))
    vectors = tmp_path / "circuit" / "vectors"
    ran = subprocess.run(command, shell=True, cwd=vectors, capture_output=True, text=True, check=True)
    number = len((vectors / "inputs.hex").read_text().splitlines())
    assert ran.stdout.splitlines()[0] == f"COMPARED {number} DIFFERENT 0 FIRST -1"


def test_vivado_is_told_the_part_and_the_clock_and_that_it_was_not_run() -> None:
    script = vivado_script(part="xc7a35t", clock_period_ns=2.5, has_registers=True)
    assert "NOT RUN" in script
    assert "-part xc7a35t" in script
    assert 'puts $constraints "create_clock -name clk -period 2.5 \\[get_ports clk]"' in script
    assert "set_input_delay" not in script
    without = vivado_script(part="xc7a35t", clock_period_ns=2.5, has_registers=False)
    assert 'puts $constraints "create_clock -name clk -period 2.5"' in without
    assert 'puts $constraints "set_input_delay 0 -clock clk \\[all_inputs]"' in without


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(CommandError, match="something else lies there; name a folder that is not there yet"):
        build(small_network(), tmp_path, OPTIONS, None, quiet)
    with pytest.raises(CommandError, match="something else lies there"):
        build(small_network(), tmp_path / "thesis.tex", OPTIONS, None, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("step", ["write_network", "write_vectors", "write_datasheet"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_build_that_is_stopped_leaves_the_folder_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    out = tmp_path / "circuit"
    out.mkdir()
    (out / "network.json").write_text("the one before")

    def stopped(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(building, step, stopped)
    monkeypatch.setattr(building, "find_simulator", no_tool)
    with pytest.raises(error):
        build(small_network(), out, OPTIONS, None, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["circuit"]
    assert [path.name for path in out.iterdir()] == ["network.json"]
    assert (out / "network.json").read_text() == "the one before"


def no_tool(*_: Any, **__: Any) -> None:
    raise CommandError("it is not there; install it: pip install it")


def read_files(folder: Path) -> list[str]:
    """Of this very folder, though another takes its name meanwhile."""
    held = os.open(folder, os.O_RDONLY)
    try:
        return [path.read_text() for path in Path(f"/proc/self/fd/{held}").iterdir()]
    finally:
        os.close(held)


def test_builds_beside_each_other_leave_one_whole_folder(tmp_path: Path) -> None:
    """Many writers, each of ten files with its own number; whoever reads a folder finds one number in it."""
    out, seen = tmp_path / "circuit", set()

    def write(number: int) -> None:
        for _ in range(20):
            with whole_folder(out, mark="network.json") as folder:
                for name in ("network.json", *map(str, range(9))):
                    (folder / name).write_text(str(number))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        with contextlib.suppress(FileNotFoundError):  # replaced while it was read
            seen.add(tuple(set(read_files(out))))
    for writer in writers:
        writer.join()
    assert seen <= {(str(number),) for number in range(6)}
    assert len(read_files(out)) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["circuit"]


@needs_icarus
def test_without_yosys_the_rest_is_done_and_the_datasheet_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jsc.hardware.synthesis.find_spec", lambda name: None)
    options = dataclasses.replace(OPTIONS, synthesis=True)
    proof = build(small_network(), tmp_path / "circuit", options, None, quiet)
    assert [row["what"] for row in proof.equal] == ["shift-and-add graph", "Verilog"]
    resources = json.loads((tmp_path / "circuit" / "resources.json").read_text())
    assert resources["synthesis"] is None
    assert resources["notes"] == [
        "Yosys is not there, so that no resources were counted; install it: pip install 'jsc[hardware]'"
    ]
    assert resources["notes"][0] in (tmp_path / "circuit" / "hardware.md").read_text()


def test_without_a_simulator_the_verilog_is_written_and_not_called_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "find_simulator", no_tool)
    proof = build(small_network(), tmp_path / "circuit", OPTIONS, None, quiet)
    assert (tmp_path / "circuit" / "verilog" / "network.v").is_file()
    assert [row["what"] for row in proof.equal] == ["shift-and-add graph"]
    assert {"what": "Verilog", "why": "it is not there; install it: pip install it"} in proof.not_proved
    markdown = (tmp_path / "circuit" / "hardware.md").read_text()
    assert "- Verilog: it is not there; install it: pip install it" in markdown


def test_without_da4ml_there_is_no_verilog_but_the_interpreters_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    proof = build(small_network(), tmp_path / "circuit", OPTIONS, None, quiet)
    assert proof.equal == []
    assert "shift-and-add graph and Verilog" in [row["what"] for row in proof.not_proved]
    assert not (tmp_path / "circuit" / "verilog").exists()
    assert (tmp_path / "circuit" / "vectors" / "logits.hex").is_file()
    assert "da4ml is not there" in (tmp_path / "circuit" / "hardware.md").read_text()
