"""A report as Markdown, with its figures as files beside it."""

import re

from jsc.reporting.document import Block, Bullets, Command, Document, Figure, Paragraph, Table


def to_markdown(document: Document) -> str:
    """GitHub's Markdown; figures are `figures/<name>.png`."""
    parts = [f"# {document.title}"]
    for section in document.sections:
        parts += [f"## {section.title}", *map(_block, section.blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return _escape(text)
        case Bullets(items):
            return "\n".join(f"- {_escape(item)}" for item in items)
        case Command(text):
            return f"```sh\n{text}\n```"
        case Figure(name, caption):
            return f"![{_escape(caption)}](figures/{name}.png)\n\n*{_escape(caption)}*"
        case Table(caption, header, rows):
            rule = ["---:" if is_numeric else "---" for is_numeric in block.numeric]
            lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in (header, rule, *rows)]
            return f"*{_escape(caption)}*\n\n" + "\n".join(f"| {line} |" for line in lines)


def _escape(text: str) -> str:
    """Outside of `code`, characters that Markdown would take for emphasis or a tag."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*_<])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
