"""A report as one HTML file that needs nothing else: no script, no request, figures inside."""

import base64
import html
from collections.abc import Mapping

from jsc.reporting.document import Bullets, Command, Document, Figure, Paragraph, Section, Table
from jsc.reporting.drawing import Drawing

_CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --rule: #d8dce2; --page: #fff; --shade: #f4f6f8;
  --link: #0059a3; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #a3abb5; --rule: #3a3f47; --page: #15181c; --shade: #1e2227; --link: #7cc0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.75rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--rule); }
p, ul { max-width: 46rem; margin: .75rem 0; }
ul { padding-left: 1.25rem; }
li { margin: .3rem 0; }
a { color: var(--link); }
code, pre { font: .875em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { background: var(--shade); padding: .1em .3em; border-radius: 3px; }
pre { background: var(--shade); padding: .75rem; border-radius: 4px; white-space: pre-wrap; margin: .75rem 0; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; max-width: none; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .85rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
p.caption { color: var(--soft); font-size: .85rem; line-height: 1.35; margin: 1.25rem 0 -.6rem; }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule);
  overflow-wrap: normal; }
td { white-space: nowrap; }
td.long { min-width: 15rem; white-space: normal; overflow-wrap: anywhere; }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--rule); font-weight: 600; }
.n { text-align: right; }
td.n { white-space: normal; }
td.n span { white-space: nowrap; }
tbody tr > :first-child { position: sticky; left: 0; background: var(--page); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem 2rem;
  margin: 1.25rem 0; }
figure { margin: 0; max-width: 30rem; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .85rem; line-height: 1.4; margin-top: .35rem; }
summary { cursor: pointer; color: var(--link); }
@page { size: A4; margin: 14mm 12mm; }
@media print {
  body { padding: 0; max-width: none; font-size: 9.5pt; }
  nav { display: none; }
  h2 { break-after: avoid; margin-top: 1.5rem; }
  .wide { overflow: visible; }
  table { font-size: 6.8pt; width: 100%; }
  th, td { padding: .2rem .25rem; }
  td { white-space: normal; }
  td.long { min-width: 0; }
  figcaption { font-size: 7.5pt; }
  tbody tr > :first-child { position: static; }
  tr { break-inside: avoid; }
  thead { display: table-header-group; }
  .figures { grid-template-columns: 1fr 1fr; gap: .75rem 1rem; }
  details::details-content { content-visibility: visible; }
  a { color: inherit; text-decoration: none; }
}
"""

_LONG_CELL = 40  # characters from which a cell may break over lines


def to_html(document: Document, drawings: Mapping[str, Drawing]) -> str:
    """One HTML 5 file; `drawings` holds each figure under its name."""
    links = "".join(
        f'<li><a href="#s{i}">{_text(section.title)}</a></li>' for i, section in enumerate(document.sections)
    )
    body = "".join(_section(section, i, drawings) for i, section in enumerate(document.sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{html.escape(document.title)}</title>\n<style>{_CSS}</style>\n'
        f"</head>\n<body>\n<header><h1>{_text(document.title)}</h1></header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{body}</main>\n</body>\n</html>\n'
    )


def _section(section: Section, number: int, drawings: Mapping[str, Drawing]) -> str:
    parts, figures = [], []
    for block in section.blocks:
        if isinstance(block, Figure):
            figures.append(_figure(block, drawings[block.name]))
            continue
        parts += _grid(figures)
        figures = []
        parts.append(_block(block))
    parts += _grid(figures)
    return f'<section id="s{number}">\n<h2>{_text(section.title)}</h2>\n{"".join(parts)}</section>\n'


def _grid(figures: list[str]) -> list[str]:
    return [f'<div class="figures">\n{"".join(figures)}</div>\n'] if figures else []


def _block(block: Paragraph | Bullets | Command | Table) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_text(text)}</p>\n"
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>\n"
        case Command(text):
            return f"<pre>{html.escape(text)}</pre>\n"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    head = "".join(
        f'<th scope="col"{_cell_class(i, "", table)}>{_text(cell)}</th>' for i, cell in enumerate(table.header)
    )
    rows = "".join(f"<tr>{''.join(_cell(i, cell, table) for i, cell in enumerate(row))}</tr>\n" for row in table.rows)
    name = html.escape(table.caption.replace("`", ""))
    shown = (  # the caption stands outside: a narrow table would break it into many lines, a wide one scroll it away
        f'<p class="caption">{_text(table.caption)}</p>\n'
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">\n<table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table>\n</div>\n"
    )
    if table.folded:
        return f"<details><summary>Show the table ({len(table.rows):,} rows)</summary>\n{shown}</details>\n"
    return shown


def _cell(column: int, cell: str, table: Table) -> str:
    text = _text(cell)
    if column in table.numeric:  # a line may break before the deviation, nowhere else
        text = " ".join(f"<span>{part}</span>" for part in text.replace(" ±", "\0±").split("\0"))
    return f"<td{_cell_class(column, cell, table)}>{text}</td>"


def _cell_class(column: int, cell: str, table: Table) -> str:
    if column in table.numeric:
        return ' class="n"'
    return ' class="long"' if len(cell) > _LONG_CELL else ""


def _figure(figure: Figure, drawing: Drawing) -> str:
    caption = html.escape(figure.caption.replace("`", ""))
    return (
        '<figure><picture>\n<source media="screen and (prefers-color-scheme: dark)" '
        f'srcset="{_data_uri(drawing.dark_svg)}">\n<img alt="{caption}" src="{_data_uri(drawing.svg)}">\n'
        f"</picture><figcaption>{_text(figure.caption)}</figcaption></figure>\n"
    )


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _text(text: str) -> str:
    """Escaped, with `code` between backticks."""
    parts = html.escape(text, quote=False).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
