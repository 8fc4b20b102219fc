from pathlib import Path

import pytest

from jsc.cli.recorded import recorded_dataset
from jsc.errors import CommandError


def run_of(folder: Path, dataset: str) -> Path:
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "config.yaml").write_text(f"dataset: {{name: jsc_sample, batch_size: 64, {dataset}}}\n")
    return folder


def test_a_runs_data_set_is_the_one_that_its_folder_tells_of(tmp_path: Path) -> None:
    assert recorded_dataset(tmp_path) is None
    recorded = recorded_dataset(run_of(tmp_path, "_target_: jsc.datasets.JetSample"))
    assert recorded is not None
    assert (recorded.name, recorded.target) == ("jsc_sample", "jsc.datasets.JetSample")


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("_target_: os.system, command: touch PWNED", r"config\.yaml names dataset: _target_=os\.system"),
        ("_target_: jsc.datasets.JetFile, path: /etc/passwd", "dataset.path=/etc/passwd, which is not read because"),
    ],
)
def test_a_strangers_folder_names_no_program_and_no_file(tmp_path: Path, dataset: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        recorded_dataset(run_of(tmp_path, dataset))
