import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sweep import main as time_sweeps


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
def test_a_sweep_is_timed_beside_its_training(capsys: pytest.CaptureFixture[str]) -> None:
    time_sweeps(["--jobs", "2", "--epochs", "1", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["start", "jobs", "fit", "times_fit"]
    start, jobs, fit, times_fit = (float(cell) for cell in lines[2].split())
    assert min(start, fit) > 0
    assert jobs > fit
    assert times_fit > 1
    assert lines[3].split()[:4] == lines[2].split()
