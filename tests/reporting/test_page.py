"""The HTML in a real browser: every figure loads, nothing overflows, no error, no request."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jsc.cli.settings import is_option
from jsc.reporting import (
    Tolerances,
    comparison_csv,
    find_run_folders,
    make_comparison,
    make_report,
    read_checkpoint,
    read_runs,
    write_document,
    write_report,
)
from jsc.reporting.document import Document, Section, Table
from jsc.reporting.page import to_html

RunWriter = Callable[..., Path]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, run_writer: RunWriter) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    sweep = root / "sweep"
    for model in ("jsc-tiny", "jsc-mlp"):
        for seed in (1, 2):
            run_writer(sweep / f"model={model},seed={seed}", model=model, seed=seed, overfit_from=8)
    run_writer(sweep / ("a_run_with_a_very_long_name_" * 6), status="failed", epochs_run=0, error="E: " + "x" * 300)
    tolerances = Tolerances(confidence=0.95, stagnation=0.001, stagnation_epochs=5, overfitting=0.005)
    runs = read_runs(find_run_folders([str(sweep)]), is_option)
    write_report(make_report(runs, tolerances=tolerances), runs, root / "report")
    one, other = (read_checkpoint(path) for path in sorted(sweep.glob("model=*,seed=1")))
    write_document(make_comparison(one, other), root / "comparison", table=comparison_csv(one, other))
    return {name: root / name / "report.html" for name in ("report", "comparison")}


def visit(browser, page: Path, *, width: int, scheme: str, media: str = "screen") -> None:
    for log in ("browser", "performance"):
        browser.get_log(log)  # empties it
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(page.as_uri())


WIDTHS = [
    pytest.param(390, "light", "screen", id="phone"),
    pytest.param(390, "dark", "screen", id="phone-dark"),
    pytest.param(1280, "light", "screen", id="desktop"),
    pytest.param(703, "light", "print", id="print"),  # an A4 page within its margins
]


@pytest.mark.parametrize(("width", "scheme", "media"), WIDTHS)
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_figures_load_and_nothing_overflows(browser, pages, name: str, width: int, scheme: str, media: str) -> None:
    visit(browser, pages[name], width=width, scheme=scheme, media=media)
    images = browser.execute_script(
        "return Array.from(document.images, i => [i.complete, i.naturalWidth, i.clientWidth, i.alt])"
    )
    assert len(images) == pages[name].read_text().count("<img ")
    assert len(images) >= 3
    for complete, natural_width, shown_width, alt in images:
        assert complete
        assert natural_width > 100
        assert shown_width > 100
        assert alt
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = browser.execute_script(
        "return Array.from(document.querySelectorAll('body *'))"
        ".filter(e => !e.closest('.wide') || arguments[1] === 'print' && e.closest('td') === null)"
        ".filter(e => e.getBoundingClientRect().right > arguments[0] + 1).map(e => e.outerHTML.slice(0, 80))",
        width,
        media,
    )
    assert outside == []


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_there_is_no_console_message_and_no_request(browser, pages, name: str) -> None:
    visit(browser, pages[name], width=390, scheme="light")
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert pages[name].as_uri() in urls
    assert [url[:60] for url in urls if not url.startswith(("file:", "data:"))] == []
    assert "<script" not in pages[name].read_text()


def test_dark_pages_are_dark_and_so_are_their_figures(browser, pages) -> None:
    colours, sources = [], []
    for scheme in ("light", "dark"):
        visit(browser, pages["report"], width=800, scheme=scheme)
        colours.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        sources.append(browser.execute_script("return Array.from(document.images, i => i.currentSrc)"))
    assert colours == ["rgb(255, 255, 255)", "rgb(21, 24, 28)"]
    assert all(light != dark for light, dark in zip(*sources, strict=True))


def test_print_is_on_white_and_unfolds_tables(browser, tmp_path: Path) -> None:
    table = Table("caption", ("a", "b"), tuple((str(i), "x") for i in range(40)))
    page = tmp_path / "page.html"
    page.write_text(to_html(Document("title", (Section("section", (table,)),)), {}))
    heights = []
    for media in ("screen", "print"):
        visit(browser, page, width=703, scheme="dark", media=media)
        heights.append(browser.execute_script("return document.querySelector('details').clientHeight"))
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert heights[0] < 40 < 400 < heights[1]
