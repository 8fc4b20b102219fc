"""A report as Markdown, with its figures as files beside it."""

from jsc.reporting.document import Block, Bullets, Command, Document, Figure, Paragraph, Table


def to_markdown(document: Document) -> str:
    """GitHub's Markdown; figures are `figures/<name>.png`."""
    parts = [f"# {document.title}"]
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _escape(text)
        case Bullets(items):
            return "\n".join(f"- {_escape(item)}" for item in items)
        case Command(text):
            return f"```sh\n{text}\n```"
        case Table():
            return _table(block)
        case Figure(name, caption):
            return f"![{_escape(caption)}](figures/{name}.png)\n\n*{_escape(caption)}*"


def _table(table: Table) -> str:
    rule = ["---:" if i in table.numeric else "---" for i in range(len(table.header))]
    rows = [list(table.header), rule, *(list(row) for row in table.rows)]
    lines = (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return f"*{_escape(table.caption)}*\n\n" + "\n".join(lines)


def _escape(text: str) -> str:
    """Outside of `code`, characters that Markdown would take for emphasis or a tag."""
    parts = text.split("`")
    for i in range(0, len(parts), 2):
        for character in "\\*_<":
            parts[i] = parts[i].replace(character, f"\\{character}")
    return "`".join(parts)
