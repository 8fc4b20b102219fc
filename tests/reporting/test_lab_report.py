import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jsc.cli.settings import is_option
from jsc.reporting import Tolerances, find_run_folders, lab_tables, make_report, read_runs, write_report
from jsc.reporting.document import Document, Paragraph, Table
from jsc.reporting.markdown import to_markdown
from jsc.reporting.tables import table_csv
from jsc.results import read_result

RunWriter = Callable[..., Path]
TOLERANCES = Tolerances(confidence=0.95, stagnation=0.001, stagnation_epochs=5, overfitting=0.005)


def report(folder: Path, out: Path | None = None, **more) -> Document:
    runs = read_runs(find_run_folders([str(folder)]), is_option)
    document = make_report(runs, tolerances=TOLERANCES, **more)
    if out is not None:
        write_report(document, runs, out)
    return document


def table_rows(folder: Path) -> list[dict[str, str]]:
    """`table.csv` of the runs in a folder."""
    return list(csv.DictReader(io.StringIO(table_csv(read_runs(find_run_folders([str(folder)]), is_option)))))


def tables(document: Document) -> list[Table]:
    return [block for section in document.sections for block in section.blocks if isinstance(block, Table)]


def texts(document: Document) -> list[str]:
    return [block.text for section in document.sections for block in section.blocks if isinstance(block, Paragraph)]


@pytest.fixture
def faulty(tmp_path: Path, run_writer: RunWriter) -> Path:
    """A sweep in which everything that can go wrong did."""
    sweep = tmp_path / "sweep"
    run_writer(sweep / "0_lr=0.1", lr=0.1, status="diverged", epochs_run=8)
    run_writer(sweep / "1_lr=0.01", lr=0.01)
    run_writer(sweep / "2_lr=0.001", lr=0.001, max_epochs=50)
    run_writer(sweep / "3_lr=0.0001", lr=1e-4, variant="openml")
    run_writer(sweep / "4_lr=1e-05", lr=1e-5)
    (run_writer(sweep / "5_no_result", lr=3e-5) / "result.json").unlink()
    truncated = run_writer(sweep / "6_truncated", lr=3e-4) / "result.json"
    truncated.write_text(truncated.read_text()[:400])
    run_writer(sweep / "7_interrupted", lr=3e-3, status="interrupted", epochs_run=7)
    run_writer(sweep / "8_failed", lr=3e-2, status="failed", epochs_run=0)
    (sweep / "9_nothing").mkdir()
    (run_writer(sweep / "10_no_curves", lr=2e-3) / "metrics.csv").unlink()
    jobs = [{"num": 1, "folder": "1_lr=0.01"}, {"num": 11, "folder": "11_gone"}]
    (sweep / "sweep.json").write_text(json.dumps({"words": [], "settings": {}, "jobs": jobs}))
    return sweep


def test_every_fault_is_said_and_none_ends_the_report(faulty: Path) -> None:
    text = to_markdown(report(faulty)).replace("\\", "")
    for said in (
        "12 runs read: 5 completed, 3 no result, 1 diverged, 1 failed, 1 interrupted and 1 unreadable.",
        "there are 2 data sets, variants or splits. Scores of one are never compared with those of another",
        "Unequal epochs: these runs were given 20, but not learning rate 0.001, 50 epochs.",
        "with one seed each",
        "| 0_lr=0.1 | diverged | no | the training and validation loss is not a number from epoch 4",
        "| 5_no_result | no result | no | result.json is missing",
        "| 6_truncated | unreadable | no | result.json: file: Invalid JSON",
        "| 7_interrupted | interrupted | no | 7 of 20 epochs were run",
        "| 8_failed | failed | no | error: RuntimeError: out of memory",
        "| 9_nothing | no result | no | the folder holds no record",
        "| 10_no_curves | completed | yes | metrics.csv is missing",
        "| 11_gone | no result | no | sweep.json names this job, but there is no such folder",
    ):
        assert said in text
    assert "nan" not in text
    rows = table_rows(faulty)
    assert len(rows) == 12
    assert [row["run"] for row in rows][-2:] == ["10_no_curves", "11_gone"]


def test_only_broken_runs_still_make_a_report(tmp_path: Path, run_writer: RunWriter) -> None:
    for i, status in enumerate(("failed", "diverged", "interrupted")):
        run_writer(tmp_path / f"sweep/{i}", lr=10.0**-i, status=status, epochs_run=i, batch_size=64 * 2**i)
    (run_writer(tmp_path / "sweep/3", model="jsc-mlp") / "result.json").write_text("")
    assert "4 runs read" in to_markdown(report(tmp_path / "sweep"))


def test_numbers_are_those_of_the_files_to_the_last_digit_shown(tmp_path: Path, run_writer: RunWriter) -> None:
    folders = {lr: run_writer(tmp_path / f"sweep/{lr}", lr=lr) for lr in (0.1, 0.01, 0.001)}
    table = tables(report(tmp_path / "sweep"))[0]
    columns = {
        "training loss": "train_loss",
        "validation loss": "val_loss",
        "validation accuracy": "val_acc",
        "test accuracy": "test_acc",
        "test loss": "test_loss",
    }
    for row in table.rows:
        cells = dict(zip(table.header, row, strict=True))
        result = read_result(folders[float(cells["learning rate"])])
        assert {name: cells[name] for name in columns} == {
            name: f"{getattr(result, field):.4f}" for name, field in columns.items()
        }
        assert cells["best epoch"] == str(result.best_epoch)
        assert cells["seconds"] == f"{result.fit_seconds:.2f}"
        assert cells["seeds"] == "one seed"
    for line in table_rows(tmp_path / "sweep"):
        result = read_result(folders[float(line["lr"])])
        assert float(line["test_acc"]) == result.test_acc
        assert float(line["val_loss"]) == result.val_loss
        assert int(line["seed"]) == result.seed


def test_seeds_give_mean_deviation_and_n(tmp_path: Path, run_writer: RunWriter) -> None:
    for seed, accuracy in ((1, 0.70), (2, 0.71), (3, 0.72)):
        run_writer(tmp_path / f"sweep/{seed}", seed=seed, test_acc=accuracy)
    run_writer(tmp_path / "sweep/4", seed=4, status="diverged")
    table = tables(report(tmp_path / "sweep"))[0]
    cells = dict(zip(table.header, table.rows[0], strict=True))
    assert cells["test accuracy"] == "0.7100 ± 0.0100"
    assert cells["seeds"] == "n = 3, 1 diverged"


def test_each_question_has_the_labs_figures(tmp_path: Path, run_writer: RunWriter) -> None:
    for lr in (0.01, 0.001):
        for batch_size in (64, 256):
            run_writer(tmp_path / f"sweep/{lr}_{batch_size}", lr=lr, batch_size=batch_size)
    for model in ("jsc-medium", "jsc-mlp"):
        run_writer(tmp_path / f"sweep/{model}", model=model)
    names = {figure.name for figure in report(tmp_path / "sweep").figures}
    assert names == {
        *(
            f"{question}_{kind}_acc"
            for question in ("batch_size", "learning_rate", "learning_rate_x_batch_size", "model")
            for kind in ("train", "val")
        ),
        "batch_size_time",
        "learning_rate_x_batch_size_heat_map",
        "model_size",
        "model_confusion_jsc_tiny",
        "model_confusion_jsc_medium",
        "model_confusion_jsc_mlp",
    }


def test_what_is_on_no_shown_line_is_in_the_table_of_all(tmp_path: Path, run_writer: RunWriter) -> None:
    for model in ("jsc-tiny", "jsc-mlp"):
        for lr in (0.01, 0.001):
            for batch_size in (64, 256):
                run_writer(tmp_path / f"sweep/{model}_{lr}_{batch_size}", model=model, lr=lr, batch_size=batch_size)
    document = report(tmp_path / "sweep")
    section = next(section for section in document.sections if section.title == "All configurations")
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    assert len(table.rows) == 8
    losses = [float(row[table.header.index("validation loss")]) for row in table.rows]
    assert losses == sorted(losses)


def test_a_repeat_that_differs_is_said(tmp_path: Path, run_writer: RunWriter) -> None:
    run_writer(tmp_path / "a/one")
    run_writer(tmp_path / "b/one", test_acc=0.5)
    document = report(tmp_path)
    assert "Repeats of a seed do not give the same test accuracy with jsc-tiny" in " ".join(texts(document))


def test_markdown_shows_every_figure_and_no_old_one_is_left(tmp_path: Path, run_writer: RunWriter) -> None:
    for lr in (0.01, 0.001):
        run_writer(tmp_path / f"sweep/{lr}", lr=lr)
    out = tmp_path / "out"
    report(tmp_path / "sweep", out)
    (out / "figures/mine.txt").write_text("stays")
    (out / "figures/old.png").write_text("goes")
    report(tmp_path / "sweep", out)
    shown = set(re.findall(r"!\[.*?\]\((.*?)\)", (out / "report.md").read_text()))
    files = {path.relative_to(out).as_posix() for path in (out / "figures").iterdir()}
    assert shown == {file for file in files if file.endswith(".png")}
    assert files == shown | {file.replace(".png", ".svg") for file in shown} | {"figures/mine.txt"}


def test_a_pipe_or_a_star_in_a_name_does_not_break_markdown(tmp_path: Path, run_writer: RunWriter) -> None:
    run_writer(tmp_path / "sweep/a|b", status="failed", epochs_run=0, error="ValueError: 2 * 3 | <b>")
    report(tmp_path / "sweep", tmp_path / "out")
    assert "| a\\|b | failed | no | error: ValueError: 2 * 3 \\| <b>" in (tmp_path / "out/report.md").read_text()
    assert "2 * 3 | &lt;b&gt;" in (tmp_path / "out/report.html").read_text()


def test_the_labs_own_figures_stand_beside_ours(tmp_path: Path, run_writer: RunWriter) -> None:
    for batch_size in (64, 128, 256):
        run_writer(tmp_path / f"sweep/{batch_size}", batch_size=batch_size)
    document = report(tmp_path / "sweep", lab_tables=lab_tables())
    beside = [table for table in tables(document) if "Lab report 000" in table.caption]
    assert len(beside) == 1
    assert any(text.startswith("The labs are five student reports") for text in texts(document)[:6]), (
        "introduced at the top"
    )
    assert "CERNBox, 986,806 jets" in beside[0].caption
    (introduction,) = [text for text in texts(document) if text.startswith("The labs' own figures")]
    assert "Here: jsc_sample (variant pythia8" in introduction
    assert introduction.endswith("; jsc-tiny, 20 epochs, learning rate 0.001.")
    ours = {c.split()[0]: read_result(tmp_path / "sweep" / c) for c in ("64", "128", "256")}
    column = beside[0].header.index("test accuracy, lab")
    assert [row[column] for row in beside[0].rows] == ["0.5220", "0.5100", "0.4670"]
    assert [row[column + 1] for row in beside[0].rows] == [f"{ours[row[0]].test_acc:.4f}" for row in beside[0].rows]
    falls = [ours[a].test_acc > ours[b].test_acc for a, b in (("64", "128"), ("128", "256"))]
    assert f"test accuracy {sum(falls)} of 2" in beside[0].caption
    not_run = next(table for table in tables(document) if "Lab report 002" in table.caption)
    assert not_run.rows[-1][-1] == "not run"


def test_lab_tables_name_their_source() -> None:
    assert {table.report for table in lab_tables()} == {"000", "002", "003", "004"}
    for table in lab_tables():
        assert "one seed" in table.settings
        assert all(len(row.values) == len(table.varied) for row in table.rows)


def test_networks_at_unequal_epochs_are_drawn_and_marked(tmp_path: Path, run_writer: RunWriter) -> None:
    run_writer(tmp_path / "sweep/tiny", max_epochs=20)
    run_writer(tmp_path / "sweep/x10", model="jsc-tiny-x10", max_epochs=50)
    figures = {figure.name: figure for figure in report(tmp_path / "sweep").figures}
    caption = figures["epochs_and_model_varied_together_size"].caption
    assert caption.endswith("with the Pareto front of those with 50 epochs (the networks had unequal epochs).")
    assert sum("confusion" in name for name in figures) == 2
