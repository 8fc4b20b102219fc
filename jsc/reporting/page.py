"""A report as one HTML file that needs nothing else: no script, no request, figures inside. Its template: page.html.

Jinja is imported when the first page is made.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jsc.reporting.document import Document
from jsc.reporting.drawing import Drawing

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = "page.html"


def to_html(document: Document, drawings: Mapping[str, Drawing]) -> str:
    """One HTML 5 file; `drawings` holds each figure under its name."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"kind": lambda block: type(block).__name__, "code": _code, "data_uri": _data_uri}
    return environment.get_template(TEMPLATE).render(document=document, drawings=drawings)


def _code(text: str) -> "Markup":
    """Escaped, with `code` between backticks."""
    from markupsafe import Markup, escape

    parts = escape(text).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
