"""Colours, chosen so that a colour-blind reader tells them apart (Okabe and Ito, 2008, jfly.uni-koeln.de/color)."""

from dataclasses import dataclass

CLASS_COLOURS: dict[str, str] = {
    "g": "#0072B2",
    "q": "#56B4E9",
    "w": "#009E73",
    "z": "#E69F00",
    "t": "#D55E00",
}
CLASS_SYMBOLS: dict[str, str] = {"g": "g", "q": "q", "w": "W", "z": "Z", "t": "t"}

INK, DARK_INK = "#1b1f24", "#e6e8eb"  # text and axes on a light and on a dark page
RULE, DARK_RULE = "#d8dce2", "#3a3f47"  # grid lines
OTHERS = "#9aa0a8"  # lines without a legend entry of their own; stands out a little from either page


@dataclass(frozen=True)
class Stroke:
    """How one line of a chart is drawn."""

    colour: str
    dash: str
    marker: str


def _strokes() -> tuple[Stroke, ...]:
    colours = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
    solid = tuple(Stroke(colour, "solid", marker) for colour, marker in zip(colours, "osD^vP", strict=True))
    return solid + tuple(Stroke(colour, "dashed", marker) for colour, marker in zip(colours[:4], "osD^", strict=True))


STROKES = _strokes()
"""Ten lines that differ in colour, dash and marker: as many as a legend holds."""
