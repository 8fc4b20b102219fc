"""Charts drawn in one quiet style, as PNG and SVG. The only file here that imports matplotlib, when it first draws."""

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jsc.reporting.charts import BarChart, Chart, HeatMap, LineChart, Series
from jsc.reporting.palette import DARK_INK, DARK_RULE, INK, RULE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.4, 3.2  # inches: on a phone of 390 px the letters keep nearly their size
PNG_DPI = 160

_STYLE: Any = {
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "axes.formatter.useoffset": False,
    "svg.hashsalt": "jsc",  # the same chart gives the same file
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Drawing:
    """A drawn chart; the SVGs have no background, `svg` is for light pages and `dark_svg` for dark ones."""

    png: bytes
    svg: str

    @property
    def dark_svg(self) -> str:
        return self.svg.replace(INK, DARK_INK).replace(RULE, DARK_RULE)


def draw(chart: Chart) -> Drawing:
    """Draw a chart."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        figure = make_figure(chart)
        figure.draw_without_rendering()  # lays it out, once for both formats
        figure.set_layout_engine("none")
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = svg.getvalue()
    return Drawing(png.getvalue(), text[text.index("<svg") :])


def make_figure(chart: Chart) -> "Figure":
    """The matplotlib figure of a chart, drawn with the style that is set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    if isinstance(chart, LineChart):
        rows = _draw_lines(axes, chart)
        figure.set_figheight(HEIGHT + 0.19 * rows)
    elif isinstance(chart, HeatMap):
        figure.set_figheight(max(HEIGHT, 0.5 * len(chart.rows) + 1.0))
        _draw_heat_map(axes, chart)
    else:
        _draw_bars(axes, chart)
        figure.set_figheight(HEIGHT + 0.2)
    return figure


def _draw_lines(axes: "Axes", chart: LineChart) -> int:
    """Returns the number of the legend's rows."""
    from matplotlib.ticker import MaxNLocator

    for series in chart.series:
        _draw_series(axes, series)
    axes.set_xlabel(chart.x.label)
    axes.set_ylabel(chart.y.label)
    axes.set_xscale(chart.x.scale)
    axes.set_yscale(chart.y.scale)
    if chart.x.ticks:
        axes.set_xticks(chart.x.ticks, [format(tick, "g") for tick in chart.x.ticks])
        axes.set_xticks([], minor=True)
    elif chart.x.label == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif chart.x.scale == "log":
        _label_log(axes.xaxis)
    if chart.y.scale == "log":
        _label_log(axes.yaxis)
    labels = [series.label for series in chart.series if series.label is not None]
    if not labels:
        return 0
    longest = max(map(len, labels))
    fitting = 5 if longest <= 6 else 3 if longest <= 14 else 2 if longest <= 26 else 1
    rows = math.ceil(len(labels) / fitting)
    columns = math.ceil(len(labels) / rows)
    axes.figure.legend(loc="outside lower center", ncols=columns, title=chart.legend_title or None, title_fontsize=8)
    return rows + bool(chart.legend_title)


def _label_log(axis: "XAxis | YAxis") -> None:
    """Plain numbers rather than powers of ten, which are hard to read where a range spans few of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    narrow = high / low < 300.0
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: format(value, "g")))
    axis.set_minor_formatter(NullFormatter())


def _draw_series(axes: "Axes", series: Series) -> None:
    few = len(series.x) <= 12
    axes.errorbar(
        series.x,
        series.y,
        yerr=series.deviations if any(series.deviations) else None,
        color=series.stroke.colour,
        linestyle=series.stroke.dash,
        marker=series.stroke.marker if few else None,
        capsize=2.5,
        elinewidth=0.9,
        label=series.label,
        zorder=2.0 + 1.0 / (1 + len(series.x)),  # a short run in front of the longer one that goes on from it
    )


def _draw_heat_map(axes: "Axes", chart: HeatMap) -> None:
    values = [[math.nan if cell is None else cell for cell in row] for row in chart.cells]
    finite = [cell for row in chart.cells for cell in row if cell is not None]
    low, high = chart.limits or (min(finite, default=0.0), max(finite, default=1.0))
    image = axes.imshow(values, cmap="cividis", aspect="auto", vmin=low, vmax=high)
    axes.grid(False)
    axes.set_xticks(range(len(chart.columns)), chart.columns)
    axes.set_yticks(range(len(chart.rows)), chart.rows)
    if max(map(len, chart.columns)) * len(chart.columns) > 48:
        axes.tick_params(axis="x", rotation=40)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    size = 8 if len(chart.columns) <= 6 else 6
    for i, row in enumerate(chart.cells):
        for j, cell in enumerate(row):
            mark = chart.marks[i][j] if chart.marks else ""
            text = mark if cell is None else f"{cell:.{chart.decimals}f}\n{mark}".strip()
            # White on cividis' dark blue half, black on its yellow one.
            colour = INK if cell is None else ("black" if cell - low > high - cell else "white")
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)
    bar = axes.figure.colorbar(image, ax=axes, label=chart.value, shrink=0.9)
    bar.outline.set_visible(False)


def _draw_bars(axes: "Axes", chart: BarChart) -> None:
    from matplotlib.patches import Patch

    width = 0.8 / len(chart.series)
    for k, (name, values) in enumerate(zip(chart.series, chart.values, strict=True)):
        left = [i - 0.4 + width * (k + 0.5) for i in range(len(chart.groups))]
        fill: Any = "none" if k == 0 else chart.colours
        axes.bar(left, values, width * 0.92, color=fill, edgecolor=chart.colours, linewidth=1.2, label=name)
    axes.set_xticks(range(len(chart.groups)), chart.groups)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel(chart.y.label)
    axes.set_ylim(0.0, 1.0)
    handles = [
        Patch(facecolor="none" if k == 0 else INK, edgecolor=INK, label=name) for k, name in enumerate(chart.series)
    ]
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
