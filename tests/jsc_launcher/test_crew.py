import pytest

from hydra_plugins.jsc_launcher._crew import gpu_of
from hydra_plugins.jsc_launcher._display import duration


def test_workers_are_dealt_out_over_the_gpus() -> None:
    assert [gpu_of(slot, ["0", "GPU-7f"]) for slot in range(3)] == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "GPU-7f"},
        {"CUDA_VISIBLE_DEVICES": "0"},
    ]
    assert gpu_of(0, []) == {}


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (200, "3:20 min"), (7500, "2:05 h")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
