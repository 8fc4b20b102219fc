"""`python -m jsc.hardware`: which network, which jets, what is written, and what is said."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jsc.datasets import JetSample, load_jets
from jsc.hardware.network import InputQuantizer, Network, write_network
from jsc.results import read_predictions, read_test
from tests.conftest import Command, settings_of
from tests.hardware.networks import linear, network, quantize

QUICK = ("hardware.synthesis=false", "hardware.random_vectors=100", "hardware.simulator=icarus")
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog")


ON_FILE = ("dataset=jsc_file", "dataset.path=jets.csv", "dataset.variant=simulated")


@pytest.fixture(scope="module")
def net() -> Network:
    """Reads the bundled jets; its weights mean nothing."""
    jets, generator = load_jets(JetSample()), np.random.default_rng(3)
    q = InputQuantizer(
        offset=jets.mean_F,
        scale=1 / jets.std_F,
        fraction_bits=np.full(16, 3),
        low=np.full(16, -16),
        high=np.full(16, 15),
    )
    return network(
        q,
        linear(generator.integers(-3, 4, (6, 16)).tolist(), [1] * 6, 1),
        quantize([0] * 6, [15] * 6, [1] * 6),
        linear(generator.integers(-3, 4, (5, 6)).tolist()),
        feature_names=jets.feature_names,
        class_names=jets.class_names,
        dataset="jsc_sample",
        dataset_variant=jets.variant,
        dataset_sha256=jets.sha256,
    )


@pytest.fixture
def run_folder(tmp_path: Path, net: Network) -> Path:
    """A quantised run's folder, as far as a circuit needs it; trained, it says, on 400 jets of a file."""
    table = JetSample().read()
    rows = np.column_stack([table.features_NF[:400], table.labels_N[:400]]).tolist()
    lines = [",".join([*map(repr, row[:-1]), table.class_names[int(row[-1])]]) for row in rows]
    (tmp_path / "jets.csv").write_text("\n".join([",".join([*table.feature_names, "class"]), *lines]))
    folder = tmp_path / "run"
    (folder / ".hydra").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.ckpt").touch()
    (folder / "checkpoints" / "last.ckpt").touch()
    settings = settings_of("model=jsc_mlp", *ON_FILE).model_dump(by_alias=True, include={"model", "dataset"})
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(settings))
    write_network(folder / "network.json", net)
    return folder


@needs_icarus
@pytest.mark.parametrize("given", ["run", "run/checkpoints", "run/checkpoints/best.ckpt", "run/network.json"])
def test_a_run_is_made_into_a_circuit_proved_on_its_own_test_jets(
    run_folder: Path, net: Network, given: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("da4ml", reason="needs da4ml, of the extra `hardware`")
    assert command("jsc.hardware", f"checkpoint={given}", *QUICK, *ON_FILE) == 0
    proof = json.loads((run_folder / "hardware" / "proof.json").read_text())
    assert proof["vectors"]["test jets"] == 80
    assert [row["what"] for row in proof["equal"]] == ["shift-and-add graph", "Verilog"]
    assert "written: run/hardware" in capsys.readouterr().err
    assert command("jsc.hardware", "prove", "circuit=run/hardware", *QUICK[1:], *ON_FILE) == 0
    assert "equal on" in capsys.readouterr().err


@needs_icarus
def test_a_fault_is_exit_code_1_and_one_message(
    run_folder: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("da4ml", reason="needs da4ml, of the extra `hardware`")
    assert command("jsc.hardware", "checkpoint=run/network.json", "out=circuit", *QUICK, *ON_FILE) == 0
    top = run_folder.parent / "circuit" / "verilog" / "network.v"
    top.write_text(top.read_text().replace("4'd15", "4'd14", 1))
    capsys.readouterr()
    assert command("jsc.hardware", "prove", "circuit=circuit", *QUICK[1:]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("jsc.hardware: the Verilog (under Icarus Verilog")
    assert "in layers[1] (quantize), wire 0: it holds 14, and should hold 15" in said


@pytest.fixture
def circuit_folder(tmp_path: Path, net: Network) -> Callable[..., Path]:
    """What `predict` reads of a circuit's folder."""

    def made(**changed: object) -> Path:
        write_network(tmp_path / "circuit" / "network.json", dataclasses.replace(net, **changed))
        return tmp_path / "circuit"

    return made


def test_the_scores_of_the_integers_are_those_of_jsc_test(
    circuit_folder: Callable[..., Path], net: Network, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = circuit_folder()
    assert command("jsc.hardware", "predict", "circuit=circuit", "dataset=jsc_sample") == 0
    table = JetSample().read()
    jets = load_jets(JetSample())
    rows = jets.rows_N[jets.rows_of("test")]
    x_NF, labels_N = table.features_NF[rows], table.labels_N[rows]
    predicted_N = net.predict(x_NF)
    result = read_test(folder / "test.json")
    assert result.test_acc == (predicted_N == labels_N).mean()
    assert result.confusion == [[int(((labels_N == i) & (predicted_N == j)).sum()) for j in range(5)] for i in range(5)]
    logits_NC = net.logits(net.quantize(x_NF)) / 2.0**net.output_fraction_bits
    of_truth_N = logits_NC[np.arange(len(labels_N)), labels_N]
    top_N = logits_NC.max(axis=1)
    losses_N = np.log(np.exp(logits_NC - top_N[:, None]).sum(axis=1)) + top_N - of_truth_N
    assert result.test_loss == pytest.approx(losses_N.mean(), rel=1e-12)  # float64, summed in another order
    assert (result.dataset, result.num_test, result.warnings) == ("jsc_sample", 20_000, [])
    stored_labels_N, stored_N = read_predictions(folder / "predictions.npz")
    assert (stored_labels_N == labels_N).all()
    assert (stored_N == predicted_N).all()
    assert f"accuracy {result.test_acc:.4f}" in capsys.readouterr().out


def test_jets_of_another_variant_are_warned_of_and_of_other_features_refused(
    circuit_folder: Callable[..., Path], net: Network, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = circuit_folder(dataset_variant="hls4ml")
    assert command("jsc.hardware", "predict", "circuit=circuit", "dataset=jsc_sample") == 0
    assert "Warning: the network was trained on jets of variant hls4ml" in capsys.readouterr().err
    assert "scores on different variants do not compare" in read_test(folder / "test.json").warnings[0]
    circuit_folder(feature_names=("mass", *net.feature_names[1:]))
    assert command("jsc.hardware", "predict", "circuit=circuit", "dataset=jsc_sample") == 2
    assert "the network was trained on feature names mass, " in capsys.readouterr().err


def test_a_float_network_is_refused_with_what_quantises_it(
    run_folder: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_folder / "network.json").unlink()
    for given in ("run", "run/checkpoints/best.ckpt"):
        assert command("jsc.hardware", f"checkpoint={given}") == 2
        said = capsys.readouterr().err
        assert "so this network computes in floating point" in said
        assert "Quantise it with jsc.quantization" in said
    assert not (run_folder / "hardware").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say which network: checkpoint=RUN"),
        (["checkpoint=nowhere"], "checkpoint=nowhere: there is nothing"),
        (["checkpoint=run/checkpoints/last.ckpt"], "a run's network.json is of its best.ckpt; give that"),
        (["checkpoint=run", "circuit=run"], "circuit= is not read here: this command reads checkpoint, dataset, out"),
        (
            ["prove", "checkpoint=run"],
            "checkpoint= is not read here: this command reads circuit, dataset, hardware.sim",
        ),
        (["prove", "circuit=run", "hardware.part=x"], "hardware.part= is not read here"),
        (["predict", "out=run", "circuit=run"], "out= is not read here: this command reads circuit, dataset"),
        (["checkpoint=run", "hardware.backend=hls4ml", "hardware.latency_cutoff=3"], "hardware.latency_cutoff= is not"),
        (["prove"], "circuit=None: give a folder that python -m jsc.hardware checkpoint=RUN wrote"),
        (["predict", "circuit=run/checkpoints"], "circuit=run/checkpoints: give a folder"),
        (["predict", "circuit=alone"], "predict needs jets: give dataset=NAME"),
        (["checkpoint=run", "hardware.latency_cutoff=-1"], "hardware.latency_cutoff"),
        (["checkpoint=run", "hardware.backend=magic"], "hardware.backend"),
        (["checkpoint=run", "hardware.latency=1"], "hardware.latency"),
        (
            ["checkpoint=run", "out=run/.hydra", "dataset=jsc_sample"],
            "something else lies there; name a folder that is not there yet",
        ),
    ],
)
def test_a_wrong_command_is_answered(
    run_folder: Path, net: Network, words: list[str], message: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    write_network(run_folder.parent / "alone" / "network.json", net)
    assert command("jsc.hardware", *words) == 2
    assert message in capsys.readouterr().err


@needs_icarus
def test_ctrl_c_leaves_nothing_and_exit_code_130(run_folder: Path) -> None:
    pytest.importorskip("da4ml", reason="needs da4ml, of the extra `hardware`")
    words = ["checkpoint=run", "hardware.simulator=icarus", *ON_FILE]
    command = [sys.executable, "-m", "jsc.hardware", *words]
    with subprocess.Popen(command, cwd=run_folder.parent, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "Verilog under" in line or "Error" in line)
        assert "Verilog under Icarus" in said
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert "interrupted; no folder was left half written" in process.stderr.read()
    assert sorted(path.name for path in run_folder.iterdir()) == [".hydra", "checkpoints", "network.json"]


def test_help_is_given(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("jsc.hardware", "--help") == 0
    assert "python -m jsc.hardware prove circuit=FOLDER" in capsys.readouterr().out
