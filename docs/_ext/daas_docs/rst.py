"""Write reStructuredText: no text of the code's can be taken for markup."""

import re
from collections.abc import Iterable, Sequence
from importlib import import_module

_CODE = re.compile(r"``([^`]+)``|`([^`]+)`")
_MARKUP = re.compile(r"([\\*|_`])")


def prose(text: str) -> str:
    """Return a paragraph with its code in backticks kept and all other markup taken literally."""
    parts: list[str] = []
    end = 0
    for match in _CODE.finditer(text):
        parts += [_MARKUP.sub(r"\\\1", text[end : match.start()]), code(match[1] or match[2])]
        end = match.end()
        if text[end : end + 1].isalnum():
            # Code ends only before a blank or a sign.
            parts.append(r"\ ")
    parts.append(_MARKUP.sub(r"\\\1", text[end:]))
    return "".join(parts)


def code(text: object) -> str:
    """Return a text as inline code."""
    return f"``{text}``"


def codes(texts: Iterable[object]) -> str:
    """Return several texts as inline code."""
    return ", ".join(code(text) for text in texts)


def title(text: str, mark: str) -> list[str]:
    """Return the lines of a heading."""
    return ["", text, mark * max(4, len(text)), ""]


def label(name: str) -> list[str]:
    """Return the lines of a target that pages can refer to."""
    return ["", f".. _{name}:", ""]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Return the lines of a table; a cell is one paragraph."""
    lines = ["", ".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in [header, *rows]:
        for number, cell in enumerate(row):
            lines.append(f"   {'* -' if number == 0 else '  -'} {' '.join(cell.split())}")
    return [*lines, ""]


def load(path: str) -> object:
    """Return what ``package.module:name`` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
