import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import waits


@pytest.mark.slow
def test_the_benchmark_writes_its_table(tmp_path: Path) -> None:
    """In a process of its own, since it pins itself to a core."""
    generator = np.random.default_rng(0)
    x_NF = generator.standard_normal((4000, 16), dtype=np.float32)
    np.savez(tmp_path / "jets.npz", X=x_NF, y=generator.integers(0, 5, 4000).astype(np.int8))
    engines = ["mase", "lightning", "torch", "fused"]
    command = [sys.executable, "-m", "benchmarks.engines", "--quick", "--models", "jsc-tiny", "--batches", "64"]
    command += ["--engines", *engines, "--jets", str(tmp_path / "jets.npz"), "--output", str(tmp_path)]
    root = Path(__file__).parents[1]
    subprocess.run(command, check=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    record = json.loads((tmp_path / "engines.json").read_text())
    assert [t["engine"] for t in record["timings"]] == engines
    assert all(t["step_us"] > 0 and t["jets_per_second"] > 0 for t in record["timings"])
    assert record["timings"][-1]["times_fused"] == 1.0
    assert record["jets"] == "jets.npz"
    assert "| jsc-tiny | 64 |" in (tmp_path / "engines.md").read_text()


@pytest.mark.slow
def test_what_a_user_waits_for_is_timed_in_two_checkouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").symlink_to(Path(__file__).parents[1])
    told = ["--shorter", "250", "--repeats", "1", "--against", str(tmp_path / "other"), "--only", "learning"]
    waits.main([*told, "--output", str(tmp_path / "waits.md")])
    lines = (tmp_path / "waits.md").read_text().splitlines()
    assert capsys.readouterr().out.endswith((tmp_path / "waits.md").read_text())
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == list(waits.COLUMNS)
    names = [f"{n} learning rates x 1 epochs" for n in (2, 4)]
    assert [row[:2] for row in rows[2:]] == [[name, at] for name in names for at in (waits.ROOT.name, "other")]
    for row in rows[2:]:
        wall, start, fit = map(float, row[2:5])
        assert wall > start > 0
        assert fit > 0
        assert float(row[6]) > 1
    assert rows[3][7] == "1.00"


def test_the_cases_are_the_four_of_the_house() -> None:
    cases = waits.cases_of(Path("jets.npz"), shorter=1)
    assert [(case.num_jobs, len(case.overrides)) for case in cases] == [(1, 1), (32, 4), (1000, 4), (1, 4)]
    assert len(set(cases[2].overrides[1].split(","))) == 1000
