"""How figures look: one quiet style, as PNG on white and as SVG for light and for dark pages.

Matplotlib is imported when the first figure is drawn, here and in figures.py.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[["Figure"], None]

WIDTH, HEIGHT = 4.4, 3.2  # inches: on a phone of 390 px the letters keep nearly their size
PNG_DPI = 160

DARK_INK, DARK_RULE = "#e6e8eb", "#3a3f47"  # text and axes, and grid lines, on a dark page
OTHERS = "#80868e"  # points without a legend entry of their own

# Those of Okabe and Ito's colours (2008, jfly.uni-koeln.de/color) that have a contrast of 3 or more on either page. The
# colour-blind tell them apart; two lines of one colour, and all in grey print, differ in their dashes and markers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1)), (0, (3, 1)), (0, (8, 2, 2, 2)), (0, (1, 2)))
LINES: list[dict[str, Any]] = [
    {"color": COLOURS[i % len(COLOURS)], "linestyle": dash, "marker": marker}
    for i, (dash, marker) in enumerate(zip(_DASHES, "osD^vPX*", strict=True))
]
"""Keywords of matplotlib's lines: as many as one panel holds."""

_STYLE = Path(__file__).with_name("report.mplstyle")


@dataclass(frozen=True)
class Drawing:
    """A drawn figure; the SVGs have no background, `svg` is for light pages and `dark_svg` for dark ones."""

    png: bytes
    svg: str
    dark_svg: str


def make_figure(draw: Draw) -> "Figure":
    """A figure of WIDTH by HEIGHT inches, unless `draw` gives it another size, in the style of all."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(fname=_STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        draw(figure)
    return figure


def save(draw: Draw) -> Drawing:
    """Draw a figure as files."""
    import matplotlib as mpl

    figure = make_figure(draw)
    with mpl.rc_context(fname=_STYLE):
        figure.draw_without_rendering()  # lays it out, once for both formats
        figure.set_layout_engine("none")
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        ink, rule = mpl.rcParams["text.color"], mpl.rcParams["grid.color"]
    light = svg.getvalue()[svg.getvalue().index("<svg") :]
    return Drawing(png.getvalue(), light, light.replace(ink, DARK_INK).replace(rule, DARK_RULE))
